import { describe, expect, it } from 'vitest'
import { SETTINGS_DOCS } from '../../scripts/settings-docs.ts'
import { readConfig } from '../../src/config/config.ts'
import { settingsIn } from '../../src/config/setting.ts'
import { SETTINGS_TABLE } from '../../src/config/table.ts'
import { readPage } from './blocks.ts'

describe.each(Object.entries(SETTINGS_DOCS))('%s', (path, fill) => {
  it('says what the table of the settings says; if it does not, run `npm run docs:settings`', () => {
    const page = readPage(path)
    expect(page).toBe(fill(page))
  })

  it('is not written without the marks between which its settings stand', () => {
    expect(() => fill('some page\n')).toThrow('not once')
    const page = readPage(path)
    expect(() => fill(page + page)).toThrow('not once')
  })
})

describe('the table of the settings', () => {
  const settings = settingsIn(SETTINGS_TABLE)

  it('names each variable once', () => {
    const names = settings.map(({ variable }) => variable)
    expect(names).toEqual([...new Set(names)])
  })

  it('has texts for presets and examples that their settings take', () => {
    const fields = Object.fromEntries(
      settings.map(({ variable, about: { example, preset } }) => [variable, example ?? preset ?? '']),
    )
    // These two would have to be different, and these two need each other.
    const contradictory = { STORAGE_NATS_CREDENTIALS: '', STORAGE_BACKEND_PREVIOUS: '' }
    const secrets = { STORAGE_WEBHOOKS: '' } // shown with its secret left out
    expect(() => readConfig({ ...fields, ...contradictory, ...secrets })).not.toThrow()
  })

  it('has a sentence for each, on one line, that breaks no table', () => {
    const broken = settings.filter(
      ({ about: { help, shown = '' } }) => help === '' || /[|\n]/.test(help + shown),
    )
    expect(broken.map(({ variable }) => variable)).toEqual([])
  })
})
