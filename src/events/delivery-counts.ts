/** What has become of the tries to bring events to sinks of one kind, in this process. */
export class DeliveryCounts {
  delivered = 0
  /** They will be tried again. */
  failed = 0
  /** They were tried too often. */
  dead = 0
}
