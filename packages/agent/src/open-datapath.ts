/** Joins @ciliate/datapath and @ciliate/control to the agent. */
import type { OpenDatapath } from './agent-datapath.ts';

export const openDatapath: OpenDatapath = () => Promise.reject(new Error('not written yet'));
