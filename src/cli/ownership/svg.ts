/** Elements of SVG as text. */

type Attributes = Readonly<Record<string, string | number | undefined>>;

/** `tag` with its attributes and what is in it, which is markup already. */
export function element(tag: string, attributes: Attributes, ...children: string[]): string {
  const words = Object.entries(attributes)
    .filter(([, value]) => value !== undefined)
    .map(
      ([name, value]) =>
        ` ${name}="${typeof value === "number" ? round(value) : escape(String(value))}"`,
    );
  const inside = children.join("");
  return inside === ""
    ? `<${tag}${words.join("")}/>`
    : `<${tag}${words.join("")}>${inside}</${tag}>`;
}

export function rect(kind: string, x: number, y: number, width: number, height: number): string {
  return element("rect", { class: kind, x, y, width, height });
}

export function text(kind: string, x: number, y: number, words: string): string {
  return element("text", { class: kind, x, y }, escape(words));
}

/** What pointing at the group tells. */
export function titled(title: string, ...children: string[]): string {
  return element("g", {}, element("title", {}, escape(title)), ...children);
}

export function escape(words: string): string {
  return words.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}

function round(value: number): string {
  return String(Number(value.toFixed(2)));
}
