/** The fields that networking depends on, and names. Everything else is stored as it comes. */
import { type KubeObject, listAt, numberAt, objectAt, sameJson, textAt } from './object.ts';
import type { Resource } from './registry.ts';
import { matchesSelector } from './selector.ts';
import { type FieldError, invalid } from './status.ts';

const subdomain = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const label = /^[a-z]([-a-z0-9]*[a-z0-9])?$/;

function nameErrors(resource: Resource, name: string): readonly FieldError[] {
  const free = ['roles', 'rolebindings', 'clusterroles', 'clusterrolebindings'].includes(resource.plural);
  const pattern = resource.plural === 'services' ? label : subdomain;
  if (name === '') return [{ field: 'metadata.name', message: 'Required value: name or generateName is required' }];
  if (free || (pattern.test(name) && name.length <= 253)) return [];
  return [
    {
      field: 'metadata.name',
      message: `Invalid value: "${name}": must consist of lower case alphanumeric characters or '-'${resource.plural === 'services' ? ', start with a letter,' : " or '.',"} and end with an alphanumeric character`,
    },
  ];
}

function portError(field: string, port: number): readonly FieldError[] {
  return Number.isInteger(port) && port >= 1 && port <= 65_535
    ? []
    : [{ field, message: `Invalid value: ${port}: must be between 1 and 65535, inclusive` }];
}

function serviceErrors(service: KubeObject): readonly FieldError[] {
  const ports = listAt(service, 'spec', 'ports');
  const type = textAt(service, 'spec', 'type') || 'ClusterIP';
  const errors = ports.flatMap((port, index) => portError(`spec.ports[${index}].port`, numberAt(port, 'port')));
  const unnamed =
    ports.length > 1
      ? ports.flatMap((port, index) =>
          textAt(port, 'name') === '' ? [{ field: `spec.ports[${index}].name`, message: 'Required value' }] : [],
        )
      : [];
  const none =
    ports.length === 0 && type !== 'ExternalName' && textAt(service, 'spec', 'clusterIP') !== 'None'
      ? [{ field: 'spec.ports', message: 'Required value' }]
      : [];
  const known = ['ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName'].includes(type)
    ? []
    : [
        {
          field: 'spec.type',
          message: `Unsupported value: "${type}": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"`,
        },
      ];
  return [...errors, ...unnamed, ...none, ...known];
}

function containerErrors(path: string, containers: readonly unknown[]): readonly FieldError[] {
  if (containers.length === 0) return [{ field: path, message: 'Required value' }];
  return containers.flatMap((container, index) => [
    ...(textAt(container, 'name') === '' ? [{ field: `${path}[${index}].name`, message: 'Required value' }] : []),
    ...listAt(container, 'ports').flatMap((port, at) =>
      portError(`${path}[${index}].ports[${at}].containerPort`, numberAt(port, 'containerPort')),
    ),
  ]);
}

function replicasErrors(object: KubeObject): readonly FieldError[] {
  const replicas = object.spec?.replicas;
  if (replicas === undefined || (Number.isInteger(replicas) && Number(replicas) >= 0)) return [];
  const message = `Invalid value: ${JSON.stringify(replicas)}: must be a whole number, 0 or greater`;
  return [{ field: 'spec.replicas', message }];
}

function specErrors(resource: Resource, object: KubeObject): readonly FieldError[] {
  switch (resource.plural) {
    case 'services':
      return serviceErrors(object);
    case 'pods':
      return containerErrors('spec.containers', listAt(object, 'spec', 'containers'));
    case 'deployments':
    case 'replicasets':
    case 'daemonsets':
    case 'statefulsets':
      return [
        ...replicasErrors(object),
        ...(object.spec?.selector === undefined ? [{ field: 'spec.selector', message: 'Required value' }] : []),
        ...containerErrors('spec.template.spec.containers', listAt(object, 'spec', 'template', 'spec', 'containers')),
      ];
    default:
      return [];
  }
}

const workloads = new Set(['deployments', 'replicasets', 'daemonsets', 'statefulsets']);

/** A workload that does not select its own pods would make them for ever; one that changes its selector would lose them. */
function selectorErrors(resource: Resource, object: KubeObject, before: KubeObject | undefined): readonly FieldError[] {
  if (!workloads.has(resource.plural) || object.spec?.selector === undefined) return [];
  const selector = objectAt(object, 'spec', 'selector');
  const labels = objectAt(object, 'spec', 'template', 'metadata', 'labels') as Readonly<Record<string, string>>;
  const changed = before !== undefined && !sameJson(before.spec?.selector, selector);
  return [
    ...(matchesSelector(selector, labels)
      ? []
      : [
          {
            field: 'spec.template.metadata.labels',
            message: `Invalid value: ${JSON.stringify(labels)}: \`selector\` does not match template \`labels\``,
          },
        ]),
    ...(changed
      ? [{ field: 'spec.selector', message: `Invalid value: ${JSON.stringify(selector)}: field is immutable` }]
      : []),
  ];
}

/** Throws 422 that names every wrong field. `before`: what the object replaces. */
export function validate(resource: Resource, object: KubeObject, before?: KubeObject): void {
  const errors = [
    ...nameErrors(resource, object.metadata.name),
    ...specErrors(resource, object),
    ...selectorErrors(resource, object, before),
  ];
  if (errors.length > 0) throw invalid(resource.kind, object.metadata.name, errors);
}
