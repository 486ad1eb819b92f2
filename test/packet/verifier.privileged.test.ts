/** Every object passes the verifier with everything switched on; instruction counts are printed. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { abiHash, ConfigFlags, mapSpecs } from '../../packages/abi/src/index.ts';
import { objects } from '../../packages/datapath/src/index.ts';
import { KernelError, KernelMap, loadObject } from '../../packages/kernel/src/index.ts';
import { privileged } from '../lib/privileged.ts';
import { fullConfig, objectPath } from './config.ts';

/** Each flag that adds code to the programs: without it more would be left out. */
const { CONFIG_NO_BACKEND_DROP: _, ...adding } = ConfigFlags;
const everything = Object.values(adding).reduce((all, flag) => all | flag, 0);
const modes = {
  native: { flags: everything, routingMode: 0 },
  vxlan: { flags: everything, routingMode: 1 },
} as const;

describe('verifier', privileged('bpf'), () => {
  const folder = mkdtempSync(join(tmpdir(), 'ciliate-objects-'));
  after(() => rmSync(folder, { recursive: true, force: true }));

  for (const { file, programs } of objects) {
    for (const [mode, config] of Object.entries(modes)) {
      test(`${file} loads at full features, ${mode}`, t => {
        const object = loadObject({ path: objectPath(file), rodata: fullConfig(config) });
        try {
          for (const name of programs) {
            const program = object.programs.get(name);
            assert.ok(program !== undefined, `${file} has no program ${name}`);
            t.diagnostic(
              `${name}: ${program.info.instructions} instructions, ${program.info.verifiedInstructions} verified`,
            );
            assert.ok(program.info.verifiedInstructions < 1_000_000);
          }
        } finally {
          object.close();
        }
      });
    }
  }

  test('a missing object names the file and the remedy', () => {
    assert.throws(
      () => loadObject({ path: join(folder, 'nothing.bpf.o') }),
      (error: unknown) =>
        error instanceof KernelError && error.code === 'OBJECT_MISSING' && /make objects/.test(error.message),
    );
  });

  test('a truncated object is refused', () => {
    const path = join(folder, 'truncated.bpf.o');
    writeFileSync(path, readFileSync(objectPath('lxc.bpf.o')).subarray(0, 3000));
    assert.ok(existsSync(path));
    assert.throws(
      () => loadObject({ path }),
      (error: unknown) => error instanceof KernelError && error.code === 'OBJECT_INVALID',
    );
  });

  test('an object of another version is refused, with both versions named', () => {
    const path = join(folder, 'other.bpf.o');
    const bytes = readFileSync(objectPath('lxc.bpf.o'));
    const at = bytes.indexOf(abiHash);
    assert.ok(at > 0);
    bytes.write('0123456789abcdef', at, 'latin1');
    writeFileSync(path, bytes);
    assert.throws(
      () => loadObject({ path, rodata: fullConfig(), abiHash }),
      (error: unknown) =>
        error instanceof KernelError &&
        error.code === 'OBJECT_ABI_MISMATCH' &&
        /ABI 0123456789abcdef, ours/.test(error.message),
    );
    loadObject({ path: objectPath('lxc.bpf.o'), rodata: fullConfig(), abiHash }).close();
  });

  test('an object that names no version is refused', () => {
    const path = join(folder, 'unnamed.bpf.o');
    const bytes = readFileSync(objectPath('lxc.bpf.o'));
    for (let at = bytes.indexOf('ciliate_abi'); at >= 0; at = bytes.indexOf('ciliate_abi'))
      bytes.write('x', at, 'latin1');
    writeFileSync(path, bytes);
    assert.throws(() => loadObject({ path, abiHash }), /not named/);
  });

  test('constants of another size are refused before anything is loaded', () => {
    assert.throws(
      () => loadObject({ path: objectPath('lxc.bpf.o'), rodata: new Uint8Array(4096) }),
      (error: unknown) => error instanceof KernelError && error.code === 'OBJECT_ABI_MISMATCH',
    );
  });

  test('a full map says which option raises it', () => {
    const object = loadObject({ path: objectPath('lxc.bpf.o'), rodata: fullConfig(), maxEntries: { lb_backends: 2 } });
    try {
      const fd = object.maps.get('lb_backends');
      assert.ok(fd !== undefined);
      const map = new KernelMap(fd, mapSpecs.lb_backends);
      const value = { address: new Uint8Array(16), port: 80, proto: 6, flags: 0 };
      map.put(1, value);
      map.put(2, value);
      assert.throws(
        () => map.put(3, value),
        (error: unknown) =>
          error instanceof KernelError && error.code === 'MAP_FULL' && /--bpf-lb-map-max/.test(error.message),
      );
      assert.equal(map.count(), 2);
      assert.equal(map.remove(1), true);
      assert.equal(map.remove(1), false);
      map.put(3, value);
      assert.deepEqual([...map.keys()].toSorted(), [2, 3]);
    } finally {
      object.close();
    }
  });
});
