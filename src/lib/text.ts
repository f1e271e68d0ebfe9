// Short forms and shell words for messages and scripts. Pure.

/** The first eight characters of a UUID: enough to tell the tasks or terminals of one node apart. */
export const shortId = (id: string): string => id.slice(0, 8);

/** The first twelve characters of a container's id, as `docker ps` shows it. */
export const shortContainerId = (id: string): string => id.slice(0, 12);

/** One word of a POSIX shell: nothing in it is expanded, and no character of it ends the quotes. */
export const quote = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;

/** The same, without quotes where no shell needs them: for commands that a person reads and copies. */
export const quoteIfNeeded = (word: string): string => (/^[\w@%+=:,./-]+$/.test(word) ? word : quote(word));
