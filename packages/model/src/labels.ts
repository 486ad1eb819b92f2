/** Labels or annotations of an object, as Kubernetes gives them. */
export type Labels = Readonly<Record<string, string>>;

export const noLabels: Labels = Object.freeze({});

/** 'key=value' of each label, sorted: one text for equal sets. Values have no ',' (Kubernetes label syntax). */
export function labelsKey(labels: Labels): string {
  return labelList(labels).join(',');
}

/** 'key=value' of each label, sorted; a label without value is 'key' alone, as Cilium's tools print it. */
export function labelList(labels: Labels): readonly string[] {
  return Object.entries(labels)
    .map(([key, value]) => (value === '' ? key : `${key}=${value}`))
    .sort();
}

export function sameLabels(a: Labels, b: Labels): boolean {
  return labelsKey(a) === labelsKey(b);
}
