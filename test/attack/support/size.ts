/** Whether the suite runs in its full size, which takes long: `npm run test:attack`. */
export const isFull = process.env.ATTACK === 'full'

/** Another one in each run, unless ATTACK_SEED names one from a failure's message. */
export function newSeed(): number {
  return Number(process.env.ATTACK_SEED ?? Math.floor(Math.random() * 2 ** 31))
}
