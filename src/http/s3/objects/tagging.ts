import type { Tag } from '../../../storage/object/tags.ts'
import { tagsOf, tagTexts } from '../../../storage/object/tags.ts'
import type { Operation } from '../request.ts'
import { tellingOfMarkers, versionHeaders, versionIn } from '../version-ids.ts'
import { childText, malformed, type XmlElement } from '../xml-reader.ts'

/** GET of an object's tags: its words, whoever has set them (decision 0050). */
export const getObjectTagging: Operation = {
  name: 'storage.s3.object.get_tagging',
  ofVersions: true,
  async handle(request) {
    const { services, bucket, name, query } = request
    const caller = await request.caller()
    const target = { access: 'caller', bucket, name, version: versionIn(query), withMarker: true } as const
    const { object } = await tellingOfMarkers(() => services.files.find(caller, target))
    const tags = tagsOf(object.tags).map(({ key, value }) => ({ Key: key, Value: value }))
    return request.xml('Tagging', { TagSet: { Tag: tags } }, versionHeaders(object.versionId))
  },
}

/** PUT of all of them: of the version that is there now. */
export const putObjectTagging: Operation = {
  name: 'storage.s3.object.put_tagging',
  ofVersions: true,
  async handle(request) {
    const { services, bucket, name, query } = request
    const caller = await request.caller()
    const tags = tagTexts(tagsIn(await request.readXml('Tagging')))
    const { versionId } = await services.files.setTags(caller, bucket, name, tags, versionIn(query))
    return request.empty(200, versionHeaders(versionId))
  },
}

/** DELETE of all of them. */
export const deleteObjectTagging: Operation = {
  name: 'storage.s3.object.delete_tagging',
  ofVersions: true,
  async handle(request) {
    const { services, bucket, name, query } = request
    const caller = await request.caller()
    const { versionId } = await services.files.setTags(caller, bucket, name, [], versionIn(query))
    return request.empty(204, versionHeaders(versionId))
  },
}

/** Of a document `Tagging`. @throws MalformedXML */
export function tagsIn(tagging: XmlElement): Tag[] {
  const set = tagging.children.find(({ name }) => name === 'TagSet')
  if (!set) throw malformed('it has no TagSet')
  return set.children.map((tag) => {
    const key = childText(tag, 'Key')
    const value = childText(tag, 'Value')
    if (tag.name !== 'Tag' || key === undefined || value === undefined)
      throw malformed('a TagSet holds tags with a Key and a Value')
    return { key, value }
  })
}
