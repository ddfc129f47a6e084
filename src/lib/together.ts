/**
 * `Promise.all`, but when one fails the others are waited for all the same: in a transaction, what is still under way
 * must not outlive it.
 *
 * @throws the first one's failure, in the order of the arguments
 */
export async function together<A, B>(first: Promise<A>, second: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([first, second])
  return [await first, await second]
}
