import { itLosesNoVersion } from './killed-versions.ts'

itLosesNoVersion('kill -9 amid versions, the trash and what takes them away', async () => ({}))
