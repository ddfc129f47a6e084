/** Whether files are as large and as many as people's are: `npm run test:clients`. */
export const isFull = process.env.CLIENTS === 'full'
