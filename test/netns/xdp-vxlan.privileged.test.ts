import { xdpSuite } from './xdp.ts';

xdpSuite('vxlan');
