import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { cidrGroups, flows, policies } from './policies.test-lib.ts';
import type { PolicyScene } from './scene.ts';
import { type SceneJson, sceneFromJson, sceneToJson, withPolicies } from './scene-json.ts';
import { somebodyNamed } from './scene-names.ts';
import { sceneDefaults, sceneFromObjects } from './scene-objects.ts';

const pods = ['n1/a', 'n1/b', 'n2/a'].map((name, i) => ({
  kind: 'Pod',
  metadata: { name: name.slice(3), namespace: name.slice(0, 2), labels: { app: name.slice(3) } },
  spec: { containers: [{ ports: [{ name: 'http', containerPort: 80 }] }] },
  status: { podIP: `10.244.1.${i + 1}` },
}));
const group = { kind: 'CiliumCIDRGroup', metadata: { name: 'partners' }, spec: { externalCIDRs: cidrGroups.partners } };
const protocols = { TCP: 6, UDP: 17, SCTP: 132, ICMP: 1, ICMPv6: 58 } as const;
const names = ['n1/a', 'n1/b', 'n2/a', 'host', '203.0.113.7', '172.16.5.9'];

function build(list: readonly unknown[]): PolicyScene {
  const objects = [...pods, group, ...list].map(object => ({ place: '', object }));
  return sceneFromObjects(objects, { ...sceneDefaults, now: 0 }).scene;
}

function verdicts(scene: PolicyScene): readonly boolean[] {
  const people = names.flatMap(name => somebodyNamed(scene, name));
  return people.flatMap(from =>
    people.flatMap(to => flows.map(({ protocol, port }) => scene.allows(from, to, protocols[protocol], port))),
  );
}

const lists = fc.array(policies, { minLength: 1, maxLength: 3 });

test('a scene that went over the wire says the same', () => {
  fc.assert(
    fc.property(lists, list => {
      const scene = build(list);
      const again = sceneFromJson(JSON.parse(JSON.stringify(sceneToJson(scene))) as SceneJson);
      assert.deepEqual(verdicts(again), verdicts(scene));
    }),
    { numRuns: 30 },
  );
});

test('policies put on top of a scene are as if they had been there', () => {
  fc.assert(
    fc.property(lists, lists, (before, added) => {
      const { input } = build(added);
      assert.deepEqual(
        verdicts(withPolicies(build(before), input.policies, [])),
        verdicts(build([...before, ...added])),
      );
    }),
    { numRuns: 30 },
  );
});
