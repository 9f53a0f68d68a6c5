/** Reads the files of a table image, and of what is expected of it. */
import { existsSync } from "node:fs";
import { inputError, parseJson, readBytes, readText } from "../input.ts";
import { type Expectations, parseExpectations } from "./expect.ts";
import { parseImage, type TableImage } from "./format.ts";

const JSON_NAME = /\.tables\.json(\.gz)?$/;

/**
 * Reads an image.
 *
 * @param path  its `….tables.json` or `….tables.json.gz`; the pages are taken from the `….tables.bin` or
 *              `….tables.bin.gz` beside it
 * @throws Stage2Error  `BAD_INPUT` if a file is missing, truncated, corrupt or no table image
 */
export function readImage(path: string): TableImage {
  if (!JSON_NAME.test(path)) throw inputError(path, "not a table image (NAME.tables.json[.gz])");
  const json = parseJson(path, readText(path));
  return parseImage(path, json, readBytes(findPages(path)));
}

/** Reads a file of expectations, `….expect.jsonl` or `….expect.jsonl.gz`. @throws Stage2Error `BAD_INPUT` */
export function readExpectations(path: string): Expectations {
  return parseExpectations(path, readText(path));
}

function findPages(path: string): string {
  const plain = path.replace(JSON_NAME, ".tables.bin");
  const found = [plain, `${plain}.gz`].find((candidate) => existsSync(candidate));
  if (found === undefined) throw inputError(plain, "no such file, and none with .gz");
  return found;
}
