/** default-ports: where our programs meet when nobody says where. */

/** Where our server listens unless told otherwise, and where our clients look for it, by what they speak. */
export const DEFAULT_PORTS = { echo: 8_080, json: 9_999 } as const;

/** The same for the help. */
export const DEFAULT_PORTS_TEXT = `${DEFAULT_PORTS.echo}, json ${DEFAULT_PORTS.json}`;
