import { randomBytes, randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { type Daemon, removeAtEnd, run, startDaemon } from './daemon.ts'
import { freePort } from './free-port.ts'
import { until } from './wait.ts'

/** Debian's packages without which there is no radosgw, and what of them we run. */
const PROGRAMS = {
  radosgw: ['radosgw', 'radosgw-admin'],
  'ceph-mon': ['ceph-mon', 'monmaptool'],
  'ceph-osd': ['ceph-osd'],
  'ceph-common': ['ceph'],
}

/** The packages of radosgw that are not installed here. */
export const missingPackages = Object.entries(PROGRAMS)
  .filter(([, programs]) => !programs.every(isInstalled))
  .map(([name]) => name)
export const hasRadosgw = missingPackages.length === 0

/** What an S3 client is to be told. Buckets are in the path, not in the host's name. */
export interface S3Access {
  /** Without a path, such as `http://127.0.0.1:20123`. */
  endpoint: string
  accessKey: string
  secretKey: string
  region: string
}

/** Ceph's S3 server with an object store of its own in memory. */
export interface Radosgw extends S3Access {
  /** Of all processes that run now. */
  readonly pids: number[]
  /** Of its settings and logs. */
  folder: string
  /** Kills the S3 server: connections break, and new ones are refused. What is stored stays. */
  stopGateway(): Promise<void>
  /** Starts it again, at the same endpoint. */
  startGateway(): Promise<void>
  /** Ends everything, and removes all it had. */
  stop(): Promise<void>
}

/**
 * @param memoryBytes what may be stored. Memory is taken as it is filled, 1.8 times as much as the bytes stored.
 *   A full store does not refuse: a few seconds later, writes and deletions hang.
 */
export async function startRadosgw({ memoryBytes = 4 * 2 ** 30 } = {}): Promise<Radosgw> {
  const folder = mkdtempSync(join(tmpdir(), 'strongroom-radosgw-'))
  const removeFolder = removeAtEnd(folder)
  const running = new Map<string, Daemon>()
  const config = join(folder, 'ceph.conf')

  /** Tries until it works, as long as all daemons live. */
  async function comesUp(attempt: () => Promise<unknown>, what: string): Promise<void> {
    const lost = () => [...running].find(([, daemon]) => daemon.hasEnded)?.[0]
    const works = () =>
      attempt().then(
        () => true,
        () => false,
      )
    await until(async () => lost() !== undefined || (await works()), what)
    if (lost() !== undefined) throw new Error(`${lost()} has ended`)
  }
  async function start(name: string, command: string, args: string[]): Promise<Daemon> {
    // Without `--no-mon-config` a daemon forgets the cluster's identity between its start and its first command, and
    // ends itself when the monitor then refuses that: one start in six.
    const daemon = await startDaemon(
      command,
      ['-d', '--no-mon-config', '-c', config, ...args],
      join(folder, 'log', name),
    )
    running.set(name, daemon)
    return daemon
  }
  async function kill(name: string): Promise<void> {
    await running.get(name)?.kill()
    running.delete(name)
  }
  async function stop(): Promise<void> {
    await Promise.all([...running.keys()].map(kill))
    await removeFolder()
  }

  try {
    const [monitorPort, gatewayPort] = [await freePort(), await freePort()]
    const [cluster, disk] = [randomUUID(), randomUUID()]
    const monitor = `[v1:127.0.0.1:${monitorPort}]`
    const monmap = join(folder, 'monmap')
    for (const name of ['log', 'mon', 'osd', 'rgw', 'run']) mkdirSync(join(folder, name))
    writeFileSync(config, settings({ folder, cluster, monitor, memoryBytes }))

    // The monitor: it knows who belongs to the cluster.
    await run('monmaptool', ['--create', '--addv', 'a', monitor, '--fsid', cluster, monmap])
    await run('ceph-mon', ['-c', config, '--mkfs', '-i', 'a', '--monmap', monmap])
    await start('mon', 'ceph-mon', ['-i', 'a'])

    // The object store, which the monitor must know by the identity that it is made with. On a busy machine `ceph`
    // may be refused: it has then sent its command before it learnt the cluster's identity.
    const register = () => run('ceph', ['-c', config, '--connect-timeout', '10', 'osd', 'new', disk])
    await comesUp(register, 'the monitor knows the object store')
    await run('ceph-osd', ['-c', config, '--mkfs', '-i', '0', '--osd-uuid', disk])
    await start('osd', 'ceph-osd', ['-i', '0'])

    // The S3 server: it answers once its pools are there, and so the store is.
    const endpoint = `http://127.0.0.1:${gatewayPort}`
    const startGateway = async () => {
      // Otherwise answers in two packets take 40 ms (Nagle's algorithm).
      const frontend = `beast endpoint=127.0.0.1:${gatewayPort} tcp_nodelay=1`
      await start('rgw', 'radosgw', ['-n', 'client.rgw', '--rgw-frontends', frontend])
      await comesUp(() => fetch(endpoint).then((answer) => answer.text()), 'radosgw answers')
    }
    await startGateway()
    const access = {
      endpoint,
      accessKey: randomBytes(10).toString('hex'),
      secretKey: randomBytes(20).toString('hex'),
      region: 'us-east-1',
    }
    const keys = ['--access-key', access.accessKey, '--secret-key', access.secretKey]
    await run('radosgw-admin', ['-c', config, 'user', 'create', '--uid=test', '--display-name=test', ...keys])

    return {
      ...access,
      folder,
      get pids() {
        return [...running.values()].map(({ pid }) => pid)
      },
      stopGateway: () => kill('rgw'),
      startGateway,
      stop,
    }
  } catch (error) {
    const words = [...running].map(([name, daemon]) => `--- ${name}\n${daemon.lastWords()}`)
    await stop()
    throw new Error(`radosgw did not start\n${words.join('\n')}`, { cause: error })
  }
}

/** As https://docs.ceph.com/en/pacific/rados/configuration/ has them, for a cluster of one process each. */
function settings(about: { folder: string; cluster: string; monitor: string; memoryBytes: number }): string {
  const { folder, cluster, monitor, memoryBytes } = about
  return `
[global]
fsid = ${cluster}
mon_host = ${monitor}
mon_initial_members = a
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_msgr2 = false
auth_cluster_required = none
auth_service_required = none
auth_client_required = none

mon_data = ${folder}/mon
osd_data = ${folder}/osd
rgw_data = ${folder}/rgw
run_dir = ${folder}/run
admin_socket =
log_file =
pid_file =

osd_objectstore = memstore
memstore_device_bytes = ${memoryBytes}
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_crush_chooseleaf_type = 0
osd_class_load_list = *
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
mon_data_avail_crit = 1

# What is deleted or replaced gives its memory back at once, not after hours.
rgw_gc_obj_min_wait = 1
rgw_gc_processor_period = 2
rgw_gc_processor_max_time = 2
# With a cache the gateway tells others what changes, and waits half a minute for the one that was killed before it.
rgw_cache_enabled = false
# A list asks all shards of a bucket's index, eleven if nobody says so; our buckets are small.
rgw_override_bucket_index_max_shards = 1

# The monitor gathers changes for a second before it makes them. Ours come one by one, and wait ten times.
paxos_propose_interval = 0.02
paxos_min_wait = 0.01
`
}

function isInstalled(program: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => existsSync(join(folder, program)))
}
