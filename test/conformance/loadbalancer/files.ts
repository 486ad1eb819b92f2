/** The files of a script, and the commands that work on files alone. */
import assert from 'node:assert/strict';
import { goRegExp, goReplacement, goUnquote, literal } from './go-text.ts';
import { isDump, meaning } from './map-dump.ts';
import { assertContains, structures } from './structures.ts';

export class ScriptFiles {
  readonly #files: Map<string, string>;
  readonly #env: Map<string, string>;
  /** Of the last command that prints. */
  stdout = '';

  constructor(files: Readonly<Record<string, string>>, env: Readonly<Record<string, string>>) {
    this.#files = new Map(Object.entries(files));
    this.#env = new Map(Object.entries(env));
  }

  expand(word: string): string {
    return word.replaceAll(
      /\$(\w+)|\$\{(\w+)\}/g,
      (whole, a?: string, b?: string) => this.#env.get(a ?? b ?? '') ?? whole,
    );
  }

  read(name: string): string {
    if (name === 'stdout') return this.stdout;
    // Commands of ours say what they have to say by failing.
    if (name === 'stderr') return '';
    const text = this.#files.get(inFolder(name));
    assert.ok(text !== undefined, `no file ${name}`);
    return text;
  }

  write(name: string, text: string): void {
    this.#files.set(inFolder(name), text);
  }

  /** To the file that `-o` names, else what `stdout` asks about. */
  print(text: string, file: string | undefined): void {
    if (file === undefined) this.stdout = text;
    else this.write(file, text);
  }

  /** False: no such command here. */
  command(name: string, args: readonly string[]): boolean {
    const run = fileCommands[name];
    if (run === undefined) return false;
    run(
      this,
      args.filter(arg => arg !== '-q'),
    );
    return true;
  }

  /** NAME=VALUE sets, NAME alone prints. */
  setEnv(words: readonly string[]): void {
    const asked: string[] = [];
    for (const text of words) {
      const at = text.indexOf('=');
      if (at < 0) asked.push(`${text}=${this.#env.get(text) ?? ''}\n`);
      else this.#env.set(text.slice(0, at), text.slice(at + 1));
    }
    if (asked.length > 0) this.stdout = asked.join('');
  }

  remove(name: string): void {
    this.#files.delete(inFolder(name));
  }

  has(name: string): boolean {
    return this.#files.has(inFolder(name));
  }
}

/** Files are in one folder, $WORK, which is '.'. */
const inFolder = (name: string): string => name.replace(/^(\.\/)+/, '');

type FileCommand = (files: ScriptFiles, args: readonly string[]) => void;

const fileCommands: Readonly<Record<string, FileCommand>> = {
  // One folder is enough, whose files everybody may read and write.
  ...{ cd: () => undefined, chmod: () => undefined, mkdir: () => undefined, help: () => undefined },
  cat: (files, args) => files.print(args.map(name => files.read(name)).join(''), undefined),
  cmp: (files, [a = '', b = '']) => compare(files.read(a), files.read(b)),
  cmpenv: (files, [a = '', b = '']) => compare(files.expand(files.read(a)), files.expand(files.read(b))),
  cp: (files, args) => copy(files, args),
  echo: (files, args) => files.print(`${args.join(' ')}\n`, undefined),
  empty: (files, args) => {
    for (const name of args) assert.equal(files.read(name).trim(), '');
  },
  env: (files, args) => files.setEnv(args),
  exists: (files, args) => {
    for (const name of args) assert.ok(files.has(name), `no file ${name}`);
  },
  grep: (files, args) => grep(name => files.read(name), args),
  mv: (files, args) => {
    copy(files, args);
    files.remove(args[0] ?? '');
  },
  replace: (files, args) => replace(files, args),
  rm: (files, args) => {
    for (const name of args) files.remove(name);
  },
  sed: (files, [pattern = '', by = '', name = '']) => {
    files.write(name, files.read(name).replaceAll(goRegExp(pattern, 'gm'), goReplacement(by)));
  },
  stderr: (files, args) => grep(() => files.read('stderr'), args),
  stdout: (files, args) => grep(() => files.stdout, args),
  symlink: (files, [link = '', , target = '']) => files.write(link, files.read(target)),
};

/** `-count=N`: as often, and not only somewhere. Without a file, or with '-', what was printed last. */
function grep(read: (name: string) => string, args: readonly string[]): void {
  const count = args.find(arg => arg.startsWith('-count='))?.slice('-count='.length);
  const [pattern = '', name = '-'] = args.filter(arg => !arg.startsWith('-count='));
  const text = read(name === '-' ? 'stdout' : name);
  assert.match(text, goRegExp(pattern, 'm'));
  if (count !== undefined) assert.equal([...text.matchAll(goRegExp(pattern, 'gm'))].length, Number(count), pattern);
}

/** The last one is where to. */
function copy(files: ScriptFiles, args: readonly string[]): void {
  for (const name of args.slice(0, -1)) files.write(args.at(-1) ?? '', files.read(name));
}

/** Pairs of old and new, then the file: all in one pass, of two that fit at one place the first. */
function replace(files: ScriptFiles, args: readonly string[]): void {
  const name = args.at(-1) ?? '';
  const pairs = new Map<string, string>();
  for (let i = 0; i + 2 < args.length; i += 2) {
    const [old, by] = [goUnquote(args[i] ?? ''), goUnquote(args[i + 1] ?? '')];
    if (!pairs.has(old)) pairs.set(old, by);
  }
  const any = new RegExp([...pairs.keys()].map(literal).join('|'), 'g');
  files.write(
    name,
    files.read(name).replaceAll(any, found => pairs.get(found) ?? ''),
  );
}

/** Columns may be wider in one than in the other. */
function compare(a: string, b: string): void {
  if (isDump(a) || isDump(b)) {
    assert.deepEqual(meaning(a), meaning(b));
    return;
  }
  // What was shown comes first.
  const [shown, wanted] = [structures(a), structures(b)];
  if (shown !== undefined && wanted !== undefined) assertContains(wanted, shown);
  else assert.equal(squeezed(a), squeezed(b));
}

function squeezed(text: string): string {
  const lines = text.trim().split('\n');
  return lines.map(line => line.trim().replaceAll(/ {2,}/g, '  ')).join('\n');
}
