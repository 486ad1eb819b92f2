declare const addressBrand: unique symbol;
declare const prefixBrand: unique symbol;

/** An IP address in canonical text: dotted quad, or RFC 5952 lower case. Equal addresses are equal strings. */
export type Address = string & { readonly [addressBrand]: true };

/** An address prefix in canonical text with the host bits zero: '10.244.1.0/24', 'fd00::/64'. */
export type Prefix = string & { readonly [prefixBrand]: true };
