// One call at a time for many callers, each of whom gets a result that was begun after it asked.

/** Callers who come while a call runs share the next one. A failure is told to those who share it. */
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
