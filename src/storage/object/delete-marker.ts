/** Why there is no object: the marker by which its name is deleted, or which was asked for. */
export class DeleteMarker extends Error {
  override readonly name = 'DeleteMarker'

  /** @param versionId what S3 calls it */
  constructor(readonly versionId: string) {
    super('The name is deleted by a marker')
  }
}
