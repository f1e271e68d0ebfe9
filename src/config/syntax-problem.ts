// A configuration file that is not well-formed, and where.

export class SyntaxProblem extends Error {
  override readonly name = "SyntaxProblem";

  constructor(
    message: string,
    readonly at: { readonly line: number; readonly column: number },
  ) {
    super(message);
  }
}
