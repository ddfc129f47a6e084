import type { Tag } from '../../../storage/object/tags.ts'
import { tagsOf, tagTexts } from '../../../storage/object/tags.ts'
import type { Operation } from '../request.ts'
import { childText, malformed, type XmlElement } from '../xml-reader.ts'

/** GET of an object's tags: its words, whoever has set them (decision 0050). */
export const getObjectTagging: Operation = {
  name: 'storage.s3.object.get_tagging',
  async handle(request) {
    const { services, bucket, name } = request
    const caller = await request.caller()
    const { object } = await services.files.find(caller, { access: 'caller', bucket, name })
    const tags = tagsOf(object.tags).map(({ key, value }) => ({ Key: key, Value: value }))
    return request.xml('Tagging', { TagSet: { Tag: tags } })
  },
}

/** PUT of all of them. */
export const putObjectTagging: Operation = {
  name: 'storage.s3.object.put_tagging',
  async handle(request) {
    const { services, bucket, name } = request
    const caller = await request.caller()
    const tags = tagTexts(tagsIn(await request.readXml('Tagging')))
    await services.files.setTags(caller, bucket, name, tags)
    return request.empty(200)
  },
}

/** DELETE of all of them. */
export const deleteObjectTagging: Operation = {
  name: 'storage.s3.object.delete_tagging',
  async handle(request) {
    const { services, bucket, name } = request
    const caller = await request.caller()
    await services.files.setTags(caller, bucket, name, [])
    return request.empty(204)
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
