/** tell: how those who listen are told something, without a chance to harm us. */

/**
 * Calls listeners. What one of them throws is an uncaught exception, as everywhere in Node; but only when we have done what we were
 * about to do, so that whoever catches those has a client, or a server, that goes on.
 */
export function tell(listeners: () => void): void {
  try {
    listeners();
  } catch (error) {
    process.nextTick(() => {
      throw error;
    });
  }
}
