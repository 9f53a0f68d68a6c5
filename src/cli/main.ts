/** The process behind the `stage2` command: its streams, its arguments and its exit code. */
import type { Io } from "./shared.ts";
import { EXIT } from "./shared.ts";
import { main } from "./stage2.ts";

const io: Io = {
  out: (text) => void process.stdout.write(`${text}\n`),
  err: (text) => void process.stderr.write(`${text}\n`),
  tty: process.stderr.isTTY === true,
};

// A reader that has seen enough closes the pipe: the exit code still tells what was found. Any other failure to write
// (a full disk) loses the answer, so it must not look like one.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") return;
    process.stderr.write(`stage2: the output cannot be written (${error.code})\n`);
    process.exit(EXIT.UNUSABLE);
  });
}

try {
  process.exitCode = await main(process.argv.slice(2), io);
} catch (error) {
  // Not an input's fault: a bug of this program, whose trace helps to mend it.
  console.error(error);
  process.exitCode = EXIT.UNUSABLE;
}
