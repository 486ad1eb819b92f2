import type { Database, RWTable } from '@ciliate/tables';
import type {
  AddressBlockRow,
  AddressClassRow,
  EndpointPolicyRow,
  NodeClassRow,
  PolicyClassRow,
  PolicyGroupRow,
  PolicyPeerRow,
  PolicyRuleRow,
  ServiceTargetsRow,
} from './desired-rows.ts';
import { type CidrGroupRow, type PolicyRow, policyKey } from './rows.ts';

export interface PolicyTables {
  readonly policies: RWTable<PolicyRow>;
  readonly ciliumPolicies: RWTable<PolicyRow>;
  readonly clusterwidePolicies: RWTable<PolicyRow>;
  readonly cidrGroups: RWTable<CidrGroupRow>;
  readonly addressBlocks: RWTable<AddressBlockRow>;
  readonly addressClasses: RWTable<AddressClassRow>;
  readonly serviceTargets: RWTable<ServiceTargetsRow>;
  readonly policyPeers: RWTable<PolicyPeerRow>;
  readonly policyGroups: RWTable<PolicyGroupRow>;
  readonly policyRules: RWTable<PolicyRuleRow>;
  readonly endpointPolicies: RWTable<EndpointPolicyRow>;
  readonly policyClassRows: RWTable<PolicyClassRow>;
  readonly nodeClassRows: RWTable<NodeClassRow>;
}

/** One table a kind: each has one source that writes it. */
export function definePolicyTables(db: Database): PolicyTables {
  return {
    policies: db.table<PolicyRow, string>({ name: 'policies', key: policyKey }),
    ciliumPolicies: db.table<PolicyRow, string>({ name: 'ciliumPolicies', key: policyKey }),
    clusterwidePolicies: db.table<PolicyRow, string>({ name: 'clusterwidePolicies', key: policyKey }),
    cidrGroups: db.table<CidrGroupRow, string>({ name: 'cidrGroups', key: row => row.name }),
    addressBlocks: db.table<AddressBlockRow, string>({
      name: 'addressBlocks',
      key: row => `${row.kind} ${row.prefix}`,
    }),
    addressClasses: db.table<AddressClassRow, string>({ name: 'addressClasses', key: row => row.key }),
    serviceTargets: db.table<ServiceTargetsRow, string>({ name: 'serviceTargets', key: row => row.key }),
    policyPeers: db.table<PolicyPeerRow, string>({ name: 'policyPeers', key: row => String(row.id) }),
    policyGroups: db.table<PolicyGroupRow, string>({ name: 'policyGroups', key: row => String(row.id) }),
    policyRules: db.table<PolicyRuleRow, string>({ name: 'policyRules', key: row => String(row.id) }),
    endpointPolicies: db.table<EndpointPolicyRow, string>({ name: 'endpointPolicies', key: row => row.endpoint }),
    policyClassRows: db.table<PolicyClassRow, string>({ name: 'policyClassRows', key: row => row.prefix }),
    nodeClassRows: db.table<NodeClassRow, string>({ name: 'nodeClassRows', key: row => row.address }),
  };
}
