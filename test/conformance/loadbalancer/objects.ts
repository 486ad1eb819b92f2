/** What the API server has, and the commands that show it: names of resources as `v1.services`, or a part of such a name. */
import assert from 'node:assert/strict';
import { parseAllDocuments, stringify } from 'yaml';

interface Entry {
  readonly resource: string;
  readonly namespace: string;
  readonly name: string;
  readonly text: string;
}

export class ScriptObjects {
  readonly #entries = new Map<string, Entry>();

  put(text: string): void {
    for (const entry of entriesOf(text)) this.#entries.set(keyOf(entry), entry);
  }

  delete(text: string): void {
    for (const entry of entriesOf(text)) this.#entries.delete(keyOf(entry));
  }

  texts(): readonly string[] {
    return [...this.#entries.values()].map(({ text }) => text);
  }

  /** All of a resource, which are then no longer there. */
  takeAll(resource: string): readonly string[] {
    const taken = this.#of(resource);
    for (const entry of taken) this.#entries.delete(keyOf(entry));
    return taken.map(({ text }) => text);
  }

  text(what: string, [resource = '', name = '']: readonly string[]): string {
    switch (what) {
      case 'get': {
        const [one] = this.#of(resource).filter(entry => pathOf(entry) === name);
        assert.ok(one !== undefined, `no ${resource} ${name}`);
        return one.text;
      }
      case 'list': {
        const all = this.#of(resource).filter(({ namespace }) => name === '' || namespace === name);
        return stringify({ items: all.map(({ text }) => parseAllDocuments(text)[0]?.toJS() as unknown) });
      }
      case 'summary':
        return this.#resources()
          .map(one => `- ${one}: ${this.#of(one).length}\n`)
          .join('');
      default:
        return this.#resources()
          .map(one => `${one}\n`)
          .join('');
    }
  }

  #of(resource: string): readonly Entry[] {
    return [...this.#entries.values()].filter(entry => entry.resource.includes(resource));
  }

  #resources(): readonly string[] {
    return [...new Set([...this.#entries.values()].map(({ resource }) => resource))].sort();
  }
}

const pathOf = ({ namespace, name }: Entry): string => (namespace === '' ? name : `${namespace}/${name}`);
const keyOf = (entry: Entry): string => `${entry.resource} ${pathOf(entry)}`;

function entriesOf(text: string): readonly Entry[] {
  return parseAllDocuments(text).map(document => {
    const { apiVersion = 'v1', kind, metadata } = document.toJS() as Header;
    const [version = '', group] = apiVersion.split('/').toReversed();
    return {
      resource: `${group === undefined ? '' : `${group}.`}${version}.${plural(kind.toLowerCase())}`,
      namespace: metadata.namespace ?? '',
      name: metadata.name,
      text: document.toString(),
    };
  });
}

interface Header {
  readonly apiVersion?: string;
  readonly kind: string;
  readonly metadata: { readonly namespace?: string; readonly name: string };
}

function plural(kind: string): string {
  if (kind.endsWith('y')) return `${kind.slice(0, -1)}ies`;
  return kind.endsWith('s') ? `${kind}es` : `${kind}s`;
}
