/**
 * A further process of a service that runs already, on the same data folder. Started as `node further-process.ts
 * <service id>`, with the settings of a service; says where it listens, as `assetd serve` does.
 */
import { readConfig } from '../../src/config.ts'
import { createLog, startService } from '../../src/main.ts'

const [, , serviceId] = process.argv
if (serviceId === undefined) throw new Error('give the id of the service that runs')
const service = await startService(readConfig(process.env), createLog('info'), serviceId)
console.log(`assetd listens on ${service.address}, as a further process`)
process.on('SIGTERM', () => service.stop().then(() => process.exit(0)))
