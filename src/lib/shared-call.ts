// Runs one call at a time for many callers. Each caller gets the result of a call that started after it
// asked.

/**
 * Callers that ask while a call runs share the next one; all who share a call get its result or its error.
 */
export function sharedCall<T>(call: () => Promise<T>): () => Promise<T> {
  let running: Promise<T> | undefined;
  let next: Promise<T> | undefined;

  function begin(): Promise<T> {
    next = undefined;
    const own = call();
    running = own;
    const ended = (): void => {
      if (running === own) running = undefined;
    };
    own.then(ended, ended);
    return own;
  }

  return () => {
    if (next !== undefined) return next;
    if (running === undefined) return begin();
    return (next = running.then(begin, begin));
  };
}
