import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Forwarding, forwardingProblem, usesDsr } from './forwarding.ts';

const some = { matchLabels: { edge: 'true' } };

const cases: readonly {
  readonly name: string;
  readonly forwarding: Forwarding;
  readonly annotation?: 'snat' | 'dsr';
  readonly exposed?: boolean;
  readonly tcp: boolean;
  readonly udp: boolean;
  readonly problem?: RegExp;
}[] = [
  { name: 'snat', forwarding: { mode: 'snat', byAnnotation: false }, tcp: false, udp: false },
  { name: 'dsr', forwarding: { mode: 'dsr', byAnnotation: false }, tcp: true, udp: true },
  { name: 'hybrid', forwarding: { mode: 'hybrid', byAnnotation: false }, tcp: true, udp: false },
  {
    name: 'dsr by annotation',
    forwarding: { mode: 'snat', byAnnotation: true },
    annotation: 'dsr',
    tcp: true,
    udp: true,
  },
  {
    name: 'snat by annotation',
    forwarding: { mode: 'hybrid', byAnnotation: true },
    annotation: 'snat',
    tcp: false,
    udp: false,
  },
  {
    name: 'an annotation that no option allows',
    forwarding: { mode: 'snat', byAnnotation: false },
    annotation: 'dsr',
    tcp: false,
    udp: false,
    problem: /forwarding-mode: dsr is left out.*--bpf-lb-mode-annotation/,
  },
  {
    name: 'an annotation that says what is so anyway',
    forwarding: { mode: 'dsr', byAnnotation: false },
    annotation: 'dsr',
    tcp: true,
    udp: true,
  },
  {
    name: 'a service of some nodes alone',
    forwarding: { mode: 'dsr', byAnnotation: false },
    exposed: true,
    tcp: false,
    udp: false,
  },
  {
    name: 'a service of some nodes alone that asks for it',
    forwarding: { mode: 'snat', byAnnotation: true },
    annotation: 'dsr',
    exposed: true,
    tcp: false,
    udp: false,
    problem: /some nodes alone/,
  },
];

for (const { name, forwarding, annotation = '', exposed = false, tcp, udp, problem } of cases) {
  test(`forwarding: ${name}`, () => {
    const service = { forwardingMode: annotation, exposedNodes: exposed ? some : undefined } as const;
    assert.deepEqual(
      [usesDsr(service, { protocol: 'TCP' }, forwarding), usesDsr(service, { protocol: 'UDP' }, forwarding)],
      [tcp, udp],
    );
    if (problem === undefined) assert.equal(forwardingProblem(service, forwarding), undefined);
    else assert.match(forwardingProblem(service, forwarding) ?? '', problem);
  });
}
