/** Whether PostgreSQL can hold `text`: no NUL, and no surrogate without a partner, which has no UTF-8 form. */
export function isStorable(text: string): boolean {
  return !/[\0\p{Cs}]/u.test(text)
}
