// Reads sudoers files as far as the take-over needs it: whose rules stand in them, and which ask for no password. Pure.

export interface SudoRule {
  /** As written: "noderax", "%noderax", "#998", "ALL", the name of an alias. */
  readonly subjects: readonly string[];
  /** The whole line, blanks folded. */
  readonly text: string;
  readonly withoutPassword: boolean;
}

export interface Sudoers {
  readonly rules: readonly SudoRule[];
  /** Lines that are no rule of a user: includes, global defaults, aliases of users. */
  readonly others: readonly string[];
}

/** Understands continued lines and comments. What it does not understand is in `others`. */
export function readSudoers(text: string): Sudoers {
  const rules: SudoRule[] = [];
  const others: string[] = [];
  for (const line of logicalLines(text)) {
    // Aliases of commands, and defaults of one user or command, give nothing by themselves.
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

/** True when the file gives rights to these accounts and to nobody else, and does nothing besides. */
export const isOnlyFor = ({ rules, others }: Sudoers, accounts: readonly string[]): boolean =>
  others.length === 0 && rules.every(({ subjects }) => subjects.every((name) => accounts.includes(name)));

/** The rules by which one of these subjects becomes another user without a password. */
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
