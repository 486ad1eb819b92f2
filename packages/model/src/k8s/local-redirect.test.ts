import assert from 'node:assert/strict';
import { test } from 'node:test';
import { localRedirectFromK8s } from './local-redirect.ts';

const dns = { port: '53', name: 'dns', protocol: 'UDP' };
const web = { port: '80', name: 'web', protocol: 'TCP' };
const policy = (frontend: object, ports: readonly object[]) => ({
  metadata: { namespace: 'ns', name: 'x' },
  spec: { redirectFrontend: frontend, redirectBackend: { localEndpointSelector: {}, toPorts: ports } },
});
const address = (...toPorts: readonly object[]) => ({ addressMatcher: { ip: '169.254.1.1', toPorts } });
const service = (namespace: string, ...toPorts: readonly object[]) => ({
  serviceMatcher: { namespace, serviceName: 's', toPorts },
});
const without = ({ name: _, ...rest }: typeof dns) => rest;

const refused: readonly (readonly [name: string, object: object, field: string])[] = [
  ['no frontend', policy({}, [dns]), 'spec.redirectFrontend'],
  ['two frontends', policy({ ...address(dns), ...service('ns') }, [dns]), 'spec.redirectFrontend'],
  [
    'a name for an address',
    policy({ addressMatcher: { ip: 'a.b', toPorts: [dns] } }, [dns]),
    'spec.redirectFrontend.addressMatcher.ip',
  ],
  ['an address without ports', policy(address(), [dns]), 'spec.redirectFrontend.addressMatcher.toPorts'],
  ['no port of the pods', policy(address(dns), []), 'spec.redirectBackend.toPorts'],
  ['a service of others', policy(service('other'), [dns]), 'spec.redirectFrontend.serviceMatcher.namespace'],
  ['another protocol', policy(address(dns), [web]), 'spec.redirectBackend.toPorts'],
  ['two ports, one without name', policy(address(dns, without(web)), [dns, web]), 'spec.redirectFrontend'],
  ['two of the pods, one without name', policy(service('ns'), [dns, without(web)]), 'spec.redirectBackend.toPorts'],
  [
    'several of the frontend, one of the pods without name',
    policy(address(dns, web), [without(dns)]),
    'spec.redirectBackend.toPorts',
  ],
  ['a name that is none', policy(service('ns'), [dns, { ...web, name: 'w--b' }]), 'spec.redirectBackend.toPorts'],
  [
    'a port that is none',
    policy(address({ ...dns, port: '0' }), [dns]),
    'spec.redirectFrontend.addressMatcher.toPorts[0].port',
  ],
  [
    'a number for a port',
    policy(address({ ...dns, port: 53 }), [dns]),
    'spec.redirectFrontend.addressMatcher.toPorts[0].port',
  ],
];
for (const [name, object, field] of refused) {
  test(`a local redirect with ${name} is refused: ${field}`, () => {
    const parsed = localRedirectFromK8s(object);
    assert.ok('error' in parsed);
    assert.equal(parsed.error.field, field);
    assert.notEqual(parsed.error.remedy, '');
  });
}

const accepted: readonly (readonly [name: string, object: object, problems: readonly string[]])[] = [
  ['single ports without names', policy(address(without(dns)), [without(dns)]), []],
  ['all ports of a service', policy(service('ns'), [without(dns)]), []],
  ['names in capitals', policy(address({ ...dns, name: 'DNS' }, web), [dns, web]), []],
  [
    'a port without partner',
    policy(address(dns, web), [dns, { ...web, name: 'www' }]),
    ['spec.redirectBackend.toPorts'],
  ],
];
for (const [name, object, problems] of accepted) {
  test(`a local redirect with ${name} is read`, () => {
    const parsed = localRedirectFromK8s(object);
    assert.ok('row' in parsed, JSON.stringify(parsed));
    assert.deepEqual(
      parsed.problems.map(({ field }) => field),
      problems,
    );
  });
}
