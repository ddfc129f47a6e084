/** How a line of the log and an answer about health say whose they are: what gathers those of many services tells them apart by it. */
export const SERVICE_NAME = 'file_storage'
