// The error for a malformed configuration file, with its position.

export class SyntaxProblem extends Error {
  override readonly name = "SyntaxProblem";

  constructor(
    message: string,
    readonly at: { readonly line: number; readonly column: number },
  ) {
    super(message);
  }
}
