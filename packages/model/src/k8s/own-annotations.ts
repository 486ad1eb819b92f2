/** Annotations of a Service that no other program knows (ciliate.io/…). One that cannot be read is noted, and counts as absent. */
import type { Labels } from '../labels.ts';
import type { ServiceRow } from '../rows.ts';
import type { ParseProblem } from './parsed.ts';

export type OwnAnnotations = Pick<ServiceRow, 'healthCheck' | 'proxyPort'>;

export function ownAnnotations(annotations: Labels, problems: ParseProblem[]): OwnAnnotations {
  return { ...healthCheck(annotations, problems), ...proxyPort(annotations, problems) };
}

const checkAnnotation = 'ciliate.io/health-check';
const intervalAnnotation = 'ciliate.io/health-check-interval';
const defaultCheckSeconds = 5;

function healthCheck(annotations: Labels, problems: ParseProblem[]): Pick<ServiceRow, 'healthCheck'> {
  const how = annotations[checkAnnotation];
  if (how === undefined) return {};
  const bad = (name: string, value: string, message: string, remedy: string): void => {
    problems.push({ field: `metadata.annotations.${name}`, message: `'${value}' ${message}`, remedy });
  };
  if (how !== 'tcp') {
    bad(checkAnnotation, how, 'is not known; it is left out', 'use tcp');
    return {};
  }
  const text = annotations[intervalAnnotation] ?? String(defaultCheckSeconds);
  const seconds = /^\d+$/.test(text) ? Number(text) : 0;
  if (seconds >= 1 && seconds <= 3600) return { healthCheck: { interval: seconds } };
  bad(intervalAnnotation, text, `is no number of seconds; ${defaultCheckSeconds} counts`, 'use 1 to 3600');
  return { healthCheck: { interval: defaultCheckSeconds } };
}

const proxyAnnotation = 'ciliate.io/proxy-port';

function proxyPort(annotations: Labels, problems: ParseProblem[]): Pick<ServiceRow, 'proxyPort'> {
  const text = annotations[proxyAnnotation];
  if (text === undefined) return {};
  const port = /^\d+$/.test(text) ? Number(text) : 0;
  if (port >= 1 && port <= 65_535) return { proxyPort: port };
  const message = `'${text}' is no port; it is left out`;
  problems.push({ field: `metadata.annotations.${proxyAnnotation}`, message, remedy: 'use 1 to 65535' });
  return {};
}
