import type { AccessLevel, AssetType, ObjectAttributes } from '../../model/object-attributes.ts'

/** Attributes as functions of the database take and return them: by the names of their columns. */
export interface AttributesJson {
  file_name?: string
  organization_id?: string
  access_level?: AccessLevel
  asset_type?: AssetType
  enable_indexing?: boolean
}

/** Null where all is as it is by default. */
export function attributesJson(attributes: ObjectAttributes): AttributesJson | null {
  const { fileName, organizationId, accessLevel, assetType, enableIndexing } = attributes
  const json: AttributesJson = {
    ...(fileName !== undefined && { file_name: fileName }),
    ...(organizationId !== undefined && { organization_id: organizationId }),
    ...(accessLevel !== undefined && accessLevel !== 'private' && { access_level: accessLevel }),
    ...(assetType !== undefined && { asset_type: assetType }),
    ...(enableIndexing === false && { enable_indexing: false }),
  }
  return Object.keys(json).length === 0 ? null : json
}

/** Plain SQL may have given a row any texts. */
export function attributesOf(json: AttributesJson | null): ObjectAttributes {
  if (json === null) return NONE
  const { file_name, organization_id, access_level, asset_type, enable_indexing } = json
  return {
    ...(file_name !== undefined && { fileName: file_name }),
    ...(organization_id !== undefined && { organizationId: organization_id }),
    ...(access_level !== undefined && { accessLevel: access_level }),
    ...(asset_type !== undefined && { assetType: asset_type }),
    ...(enable_indexing !== undefined && { enableIndexing: enable_indexing }),
  }
}

const NONE: ObjectAttributes = {}
