/** Text archives (Go's txtar format): a script, then files that begin with '-- name --' lines. */

export interface Archive {
  readonly script: string;
  readonly files: ReadonlyMap<string, string>;
}

const header = /^-- (\S+) --$/;

export function parseArchive(text: string): Archive {
  const files = new Map<string, string>();
  const script: string[] = [];
  let lines = script;
  let name: string | undefined;
  const close = () => {
    if (name !== undefined) files.set(name, lines.map(line => `${line}\n`).join(''));
  };
  for (const line of text.replace(/\n$/, '').split('\n')) {
    const found = header.exec(line);
    if (found === null) {
      lines.push(line);
      continue;
    }
    close();
    name = found[1];
    lines = [];
  }
  close();
  return { script: script.map(line => `${line}\n`).join(''), files };
}

export function formatArchive({ script, files }: Archive): string {
  return script + [...files].map(([name, text]) => `-- ${name} --\n${text}`).join('');
}
