import { itKeepsVersionsOfCutConnections } from './cut-versions.ts'

itKeepsVersionsOfCutConnections('cut connections amid versions and the trash', async () => ({}))
