/** Whether the suites run in their full size, which takes long: `npm run test:faults`. */
export const isFull = process.env.FAULTS === 'full'
