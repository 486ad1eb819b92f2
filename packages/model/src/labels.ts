/** Labels or annotations of an object, as Kubernetes gives them. */
export type Labels = Readonly<Record<string, string>>;
