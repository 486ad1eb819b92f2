/** What tests of other folders use of the agent; everything else is started by its bins. */
export { ServiceHealthServers } from './health/service-health.ts';
