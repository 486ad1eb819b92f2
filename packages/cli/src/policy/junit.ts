/** Results as JUnit XML, the form that CI systems read. */
import { type PolicyTestResult, wrongText } from '@ciliate/control';

export interface TestedFile {
  readonly file: string;
  readonly results: readonly PolicyTestResult[];
  readonly seconds: number;
}

export function junit(files: readonly TestedFile[]): string {
  const suites = files.map(({ file, results, seconds }) => {
    const failures = results.filter(result => !result.passed).length;
    const cases = results.map(result => testCase(file, result)).join('\n');
    return `  <testsuite name="${escaped(file)}" tests="${results.length}" failures="${failures}" time="${seconds.toFixed(3)}">\n${cases}\n  </testsuite>`;
  });
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="ciliate policy test">\n${suites.join('\n')}\n</testsuites>\n`;
}

function testCase(file: string, result: PolicyTestResult): string {
  const [, line = ''] = /:(\d+)$/.exec(result.place) ?? [];
  const head = `    <testcase classname="${escaped(file)}" name="${escaped(result.name)}" file="${escaped(file)}" line="${line}"`;
  if (result.passed) return `${head}/>`;
  const lines = result.problem === undefined ? result.wrong.map(wrongText) : [result.problem];
  const message = `${result.place}: ${lines[0] ?? ''}`;
  return `${head}>\n      <failure message="${escaped(message)}">${escaped(lines.join('\n'))}</failure>\n    </testcase>`;
}

function escaped(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll(/[^\t\n\r\u0020-\ufffd]/g, '');
}
