/** What a round trip is about that is a whole transaction: small bytes are stored so, and objects are deleted so. */
export const ONE_CALL = /put_object|delete_objects/
