// Refusals of the control plane, in its own envelope.

const REASONS: Record<number, string> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  409: "Conflict",
  410: "Gone",
};

export class ApiError extends Error {
  override readonly name = "ApiError";

  constructor(
    readonly status: number,
    message: string,
    /** The single messages of a failed validation. */
    readonly errors?: readonly string[],
    readonly headers: Readonly<Record<string, string>> = {},
  ) {
    super(message);
  }
}

/** 404 with a list of what exists. */
export class UnknownError extends ApiError {
  constructor(
    message: string,
    readonly known: readonly string[],
  ) {
    super(404, message);
  }
}

export const badRequest = (message: string): ApiError => new ApiError(400, message);
export const unauthorized = (message: string): ApiError => new ApiError(401, message);
export const notFound = (message: string): ApiError => new ApiError(404, message);
export const conflict = (message: string): ApiError => new ApiError(409, message);
export const internalError = (): ApiError => new ApiError(500, "Internal server error");

/** `error` is the reason phrase; the API leaves it out on 429 and 500. */
export function errorBody(error: ApiError, path: string): Record<string, unknown> {
  return {
    statusCode: error.status,
    path,
    timestamp: new Date().toISOString(),
    message: error.message,
    error: REASONS[error.status],
    errors: error.errors,
  };
}
