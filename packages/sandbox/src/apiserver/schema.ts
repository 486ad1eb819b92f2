/**
 * Names of the fields of the kinds that people write by hand for this sandbox: for `kubectl --validate` and `kubectl explain`.
 * Types that are not listed here take any field. Source: the Kubernetes API reference, v1.33.
 */
import { isObject, type Json } from './object.ts';
import { badRequest } from './status.ts';

/** 'name', 'name:Type', 'name:Type[]'; without a type: any value. */
const types: Readonly<Record<string, string>> = {
  Pod: 'apiVersion kind metadata:ObjectMeta spec:PodSpec status',
  Service: 'apiVersion kind metadata:ObjectMeta spec:ServiceSpec status',
  ConfigMap: 'apiVersion kind metadata:ObjectMeta data binaryData immutable',
  Secret: 'apiVersion kind metadata:ObjectMeta data stringData immutable type',
  Namespace: 'apiVersion kind metadata:ObjectMeta spec status',
  ServiceAccount: 'apiVersion kind metadata:ObjectMeta secrets imagePullSecrets automountServiceAccountToken',
  Deployment: 'apiVersion kind metadata:ObjectMeta spec:DeploymentSpec status',
  ReplicaSet: 'apiVersion kind metadata:ObjectMeta spec:ReplicaSetSpec status',
  DaemonSet: 'apiVersion kind metadata:ObjectMeta spec:DaemonSetSpec status',
  StatefulSet: 'apiVersion kind metadata:ObjectMeta spec:StatefulSetSpec status',
  NetworkPolicy: 'apiVersion kind metadata:ObjectMeta spec:NetworkPolicySpec status',
  EndpointSlice: 'apiVersion kind metadata:ObjectMeta addressType endpoints ports',
  ObjectMeta:
    'name generateName namespace selfLink uid resourceVersion generation creationTimestamp deletionTimestamp deletionGracePeriodSeconds labels annotations ownerReferences finalizers managedFields',
  ServiceSpec:
    'ports:ServicePort[] selector clusterIP clusterIPs type externalIPs sessionAffinity loadBalancerIP loadBalancerSourceRanges externalName externalTrafficPolicy healthCheckNodePort publishNotReadyAddresses sessionAffinityConfig ipFamilies ipFamilyPolicy allocateLoadBalancerNodePorts loadBalancerClass internalTrafficPolicy trafficDistribution',
  ServicePort: 'name protocol appProtocol port targetPort nodePort',
  DeploymentSpec:
    'replicas selector:LabelSelector template:PodTemplateSpec strategy minReadySeconds revisionHistoryLimit paused progressDeadlineSeconds',
  ReplicaSetSpec: 'replicas minReadySeconds selector:LabelSelector template:PodTemplateSpec',
  DaemonSetSpec: 'selector:LabelSelector template:PodTemplateSpec updateStrategy minReadySeconds revisionHistoryLimit',
  StatefulSetSpec:
    'replicas selector:LabelSelector template:PodTemplateSpec volumeClaimTemplates serviceName podManagementPolicy updateStrategy revisionHistoryLimit minReadySeconds persistentVolumeClaimRetentionPolicy ordinals',
  LabelSelector: 'matchLabels matchExpressions',
  PodTemplateSpec: 'metadata:ObjectMeta spec:PodSpec',
  PodSpec:
    'volumes initContainers:Container[] containers:Container[] ephemeralContainers restartPolicy terminationGracePeriodSeconds activeDeadlineSeconds dnsPolicy nodeSelector serviceAccountName serviceAccount automountServiceAccountToken nodeName hostNetwork hostPID hostIPC shareProcessNamespace securityContext imagePullSecrets hostname subdomain affinity schedulerName tolerations hostAliases priorityClassName priority dnsConfig readinessGates runtimeClassName enableServiceLinks preemptionPolicy overhead topologySpreadConstraints setHostnameAsFQDN os hostUsers schedulingGates resourceClaims resources',
  Container:
    'name image command args workingDir ports:ContainerPort[] envFrom env:EnvVar[] resources resizePolicy restartPolicy volumeMounts volumeDevices livenessProbe:Probe readinessProbe:Probe startupProbe:Probe lifecycle terminationMessagePath terminationMessagePolicy imagePullPolicy securityContext stdin stdinOnce tty',
  ContainerPort: 'name hostPort containerPort protocol hostIP',
  EnvVar: 'name value valueFrom',
  Probe:
    'exec httpGet tcpSocket grpc initialDelaySeconds timeoutSeconds periodSeconds successThreshold failureThreshold terminationGracePeriodSeconds',
  NetworkPolicySpec:
    'podSelector:LabelSelector ingress:NetworkPolicyIngressRule[] egress:NetworkPolicyEgressRule[] policyTypes',
  NetworkPolicyIngressRule: 'ports:NetworkPolicyPort[] from:NetworkPolicyPeer[]',
  NetworkPolicyEgressRule: 'ports:NetworkPolicyPort[] to:NetworkPolicyPeer[]',
  NetworkPolicyPort: 'protocol port endPort',
  NetworkPolicyPeer: 'podSelector:LabelSelector namespaceSelector:LabelSelector ipBlock:IPBlock',
  IPBlock: 'cidr except',
};

interface Field {
  readonly type: string;
  readonly isList: boolean;
}

function fieldsOf(type: string): ReadonlyMap<string, Field> | undefined {
  const text = Object.hasOwn(types, type) ? types[type] : undefined;
  if (text === undefined) return undefined;
  return new Map(
    text.split(' ').map(entry => {
      const [name = '', fieldType = ''] = entry.split(':');
      return [name, { type: fieldType.replace('[]', ''), isList: fieldType.endsWith('[]') }];
    }),
  );
}

const parsed = new Map(Object.keys(types).map(type => [type, fieldsOf(type) ?? new Map<string, Field>()]));

/** Paths of fields that the type does not have, such as `spec.ports[0].potr`. */
export function unknownFields(type: string, value: Json | undefined, path = ''): readonly string[] {
  const fields = parsed.get(type);
  if (fields === undefined || !isObject(value)) return [];
  return Object.entries(value).flatMap(([name, content]) => {
    const at = path === '' ? name : `${path}.${name}`;
    const field = fields.get(name);
    if (field === undefined) return [at];
    const items = field.isList && Array.isArray(content) ? content : undefined;
    return items === undefined
      ? unknownFields(field.type, content, at)
      : items.flatMap((item, index) => unknownFields(field.type, item, `${at}[${index}]`));
  });
}

/** With `fieldValidation=Strict`, which kubectl asks for, a field that does not exist is an error (400) that names it. */
export function checkFields(type: string, value: Json, validation: string | null): void {
  if (validation !== 'Strict') return;
  const unknown = unknownFields(type, value).map(path => `unknown field "${path}"`);
  if (unknown.length > 0) throw badRequest(`strict decoding error: ${unknown.join(', ')}`);
}

const integers =
  /^(replicas|port|priority|generation|(node|container|host|end|healthCheckNode)Port|\w+(Seconds|Limit|Threshold))$/;
const booleans =
  /^(paused|immutable|stdin|stdinOnce|tty|host(Network|PID|IPC|Users)|publishNotReadyAddresses|enableServiceLinks)$/;
const texts =
  /^(\w*[nN]ame|apiVersion|kind|namespace|image|uid|protocol|appProtocol|type|clusterIP|\w+Policy|value|cidr|workingDir|hostIP|subdomain|\w+Timestamp)$/;

/** Thin: the type follows from the name, where it does; kubectl needs every schema to say something. */
function leaf(name: string): object {
  if (integers.test(name)) return { type: 'integer' };
  if (booleans.test(name)) return { type: 'boolean' };
  return texts.test(name) ? { type: 'string' } : { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
}

function schemaOfField(name: string, field: Field, depth: number): object {
  const one = field.type === '' ? leaf(name) : { type: 'object', properties: openApiProperties(field.type, depth + 1) };
  return field.isList ? { type: 'array', items: one } : one;
}

/** OpenAPI properties of a type, undefined when it is not listed; types inside are written out. */
export function openApiProperties(type: string, depth = 0): Readonly<Record<string, object>> | undefined {
  const fields = parsed.get(type);
  if (fields === undefined || depth > 8) return undefined;
  return Object.fromEntries([...fields].map(([name, field]) => [name, schemaOfField(name, field, depth)]));
}
