// Parses sudoers files as far as the take-over needs it: whom the rules are for, and which ask for no password. Pure.

export interface SudoRule {
  /** As written: "noderax", "%noderax", "#998", "ALL", the name of an alias. */
  readonly subjects: readonly string[];
  /** The whole line, blanks folded. */
  readonly text: string;
  readonly withoutPassword: boolean;
}

export interface Sudoers {
  readonly rules: readonly SudoRule[];
  /** Lines that are not a user's rule: includes, global defaults, aliases of users. */
  readonly others: readonly string[];
}

/** Parses a sudoers file with continued lines and comments. Lines it cannot parse are in `others`. */
export function readSudoers(text: string): Sudoers {
  const rules: SudoRule[] = [];
  const others: string[] = [];
  for (const line of logicalLines(text)) {
    // Aliases of commands, and defaults of one user or command, grant nothing by themselves.
    if (/^(Cmnd_Alias|Host_Alias|Runas_Alias|Defaults[:@!>])/.test(line)) continue;
    const [, subjects, rest] = /^([^=]+?)\s+\S+\s*=\s*(.+)$/.exec(line) ?? [];
    if (subjects === undefined || rest === undefined || /^(Defaults|User_Alias|[@#]include)/.test(line))
      others.push(line);
    else
      rules.push({
        subjects: subjects.split(",").map((name) => name.trim()),
        text: line,
        withoutPassword: /\bNOPASSWD\s*:/.test(rest),
      });
  }
  return { rules, others };
}

/** True when the file grants rights to these accounts and to nobody else, and contains nothing else. */
export const isOnlyFor = ({ rules, others }: Sudoers, accounts: readonly string[]): boolean =>
  others.length === 0 && rules.every(({ subjects }) => subjects.every((name) => accounts.includes(name)));

/** Returns the rules that let one of these subjects become another user without a password. */
export const rulesFor = ({ rules }: Sudoers, subjects: readonly string[]): readonly SudoRule[] =>
  rules.filter((rule) => rule.withoutPassword && rule.subjects.some((name) => subjects.includes(name)));

function logicalLines(text: string): string[] {
  return text
    .replace(/\\\r?\n/g, " ")
    .split(/\r?\n/)
    .map((line) =>
      line
        .replace(/(^|\s)#(?!\d|include).*$/, "")
        .replace(/\s+/g, " ")
        .trim(),
    )
    .filter((line) => line !== "");
}
