import { xdpSuite } from './xdp.ts';

xdpSuite('native');
