// Simulates the policies: the principals that may assume each role, and the actions that each role allows. It also compares the
// rules of ECR and EventBridge with images and events.
// Terraform has rendered the policies: standard input is `terraform test -json -verbose` of tests/policies.tftest.hcl.
// The library iam-simulate evaluates policies as IAM does.

import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'

// The library is outside of this file's folder, where import does not find it.
const require = createRequire(`${process.env.NODE_PATH}/`)
const { runSimulation, runUnsafeSimulation } = require('@cloud-copilot/iam-simulate')
const { createValidatedPolicy, validateResourcePolicy, validateTrustPolicy } = require('@cloud-copilot/iam-policy')

const account = '123456789012'
const github = 'token.actions.githubusercontent.com'
const githubProvider = `arn:aws:iam::${account}:oidc-provider/${github}`
const repository = `arn:aws:ecr:eu-west-2:${account}:repository/kantox-challenge`
const bucket = 'arn:aws:s3:::kantox-challenge-bucket'
const queue = `arn:aws:sqs:eu-west-2:${account}:kantox-challenge-parameter-changes`
const rule = `arn:aws:events:eu-west-2:${account}:rule/kantox-challenge-parameter-changes`
const anchor = `arn:aws:rolesanywhere:eu-west-2:${account}:trust-anchor/00000000-0000-0000-0000-000000000001`
const key = `arn:aws:kms:eu-west-2:${account}:key/11111111-2222-3333-4444-555555555555`
// The principal that has the simulated policy.
const holder = `arn:aws:iam::${account}:role/mock`
const parameter = (name) => `arn:aws:ssm:eu-west-2:${account}:parameter${name}`

const states = await readStates(process.stdin)
let passed = 0
let failed = 0

trustOfThePipeline()
await permissionsOfThePipeline()
trustOfAuxService()
await permissionsOfAuxService()
await resourcePolicies()
eventsInTheQueue()
imagesThatExpire()
console.log(`\n${passed} passed, ${failed} failed`)
process.exit(failed === 0 && passed > 0 ? 0 : 1)

function trustOfThePipeline() {
  const trust = (run) => policy(run, 'module.github_oidc.aws_iam_role.pipeline', 'assume_role_policy')
  const ask = (run, verdict, what, sub, { aud = 'sts.amazonaws.com', id = '456789', provider = githubProvider } = {}) => {
    const claims = { sub, aud, repository_id: id }
    const given = Object.entries(claims).filter(([, value]) => value !== null)
    const context = Object.fromEntries(given.map(([claim, value]) => [`${github}:${claim}`, value]))
    assume(trust(run), verdict, what, sub, 'sts:AssumeRoleWithWebIdentity', provider, context)
  }

  title('Principals that may push images (branch main of octo-org/gateway)')
  ask('defaults', 'yes', 'this repository, main, names', 'repo:octo-org/gateway:ref:refs/heads/main')
  ask('defaults', 'yes', 'this repository, main, numbers', 'repo:octo-org@123456/gateway@456789:ref:refs/heads/main')
  ask('provider_exists_already', 'yes', 'the same, provider made elsewhere', 'repo:octo-org/gateway:ref:refs/heads/main')
  ask('defaults', 'no', 'a fork', 'repo:someone/gateway:ref:refs/heads/main', { id: '999999' })
  ask('defaults', 'no', 'a fork, numbers', 'repo:someone@111111/gateway@999999:ref:refs/heads/main', { id: '999999' })
  ask('defaults', 'no', 'another branch', 'repo:octo-org/gateway:ref:refs/heads/feature')
  ask('defaults', 'no', 'another branch, numbers', 'repo:octo-org@123456/gateway@456789:ref:refs/heads/feature')
  ask('defaults', 'no', 'a branch that begins with main', 'repo:octo-org/gateway:ref:refs/heads/main-2')
  ask('defaults', 'no', 'a tag called main', 'repo:octo-org/gateway:ref:refs/tags/main')
  ask('defaults', 'no', 'another organisation', 'repo:octo-corp/gateway:ref:refs/heads/main', { id: '777777' })
  ask('defaults', 'no', 'another repository of the owner', 'repo:octo-org/website:ref:refs/heads/main', { id: '888888' })
  ask('defaults', 'no', 'a repository whose name begins alike', 'repo:octo-org/gateway-2:ref:refs/heads/main', { id: '888889' })
  ask('defaults', 'no', 'a pull request', 'repo:octo-org/gateway:pull_request')
  ask('defaults', 'no', 'a pull request, numbers', 'repo:octo-org@123456/gateway@456789:pull_request')
  ask('defaults', 'no', 'an environment, when only a branch may', 'repo:octo-org/gateway:environment:production')
  ask('defaults', 'no', 'a wildcard for every repository', 'repo:*')
  ask('defaults', 'no', 'a wildcard for the owner', 'repo:octo-org/*')
  ask('defaults', 'no', 'a wildcard for the branch', 'repo:octo-org/gateway:*')
  ask('defaults', 'no', 'other letter case', 'repo:Octo-Org/gateway:ref:refs/heads/main')
  ask('defaults', 'no', 'the name, taken over by another repository', 'repo:octo-org/gateway:ref:refs/heads/main', { id: '999999' })
  ask('defaults', 'no', 'the name with another number', 'repo:octo-org@123456/gateway@999999:ref:refs/heads/main', { id: '999999' })
  ask('defaults', 'no', 'a token without repository_id', 'repo:octo-org/gateway:ref:refs/heads/main', { id: null })
  ask('defaults', 'no', 'another audience', 'repo:octo-org/gateway:ref:refs/heads/main', { aud: 'https://github.com/octo-org' })
  ask('defaults', 'no', 'no audience', 'repo:octo-org/gateway:ref:refs/heads/main', { aud: null })
  ask('defaults', 'no', 'another issuer', 'repo:octo-org/gateway:ref:refs/heads/main', {
    provider: `arn:aws:iam::${account}:oidc-provider/gitlab.com`
  })

  title('Principals that may push images (environment production of octo-org/gateway, no branch)')
  const environment = 'environment_instead_of_branch'
  ask(environment, 'yes', 'the environment, names', 'repo:octo-org/gateway:environment:production')
  ask(environment, 'yes', 'the environment, numbers', 'repo:octo-org@123456/gateway@456789:environment:production')
  ask(environment, 'no', 'another environment', 'repo:octo-org/gateway:environment:staging')
  ask(environment, 'no', 'the branch without the environment', 'repo:octo-org/gateway:ref:refs/heads/main')
  ask(environment, 'no', "a fork's environment", 'repo:someone/gateway:environment:production', { id: '999999' })
}

async function permissionsOfThePipeline() {
  title('Permissions of the pipeline')
  const push = heldBy('defaults', 'module.github_oidc.aws_iam_role.pipeline')
  const layers = ['ecr:BatchCheckLayerAvailability', 'ecr:CompleteLayerUpload', 'ecr:InitiateLayerUpload', 'ecr:UploadLayerPart']
  const images = ['ecr:BatchGetImage', 'ecr:GetDownloadUrlForLayer', 'ecr:PutImage']
  allowsNothingBut(push, ['ecr:GetAuthorizationToken', ...layers, ...images])
  await may(push, 'yes', 'ecr:GetAuthorizationToken', '*')
  for (const action of [...layers, ...images]) {
    await may(push, 'yes', action, repository)
    await may(push, 'no', action, `${repository}-2`)
    await may(push, 'no', action, repository.replace(account, '210987654321'))
  }
  for (const action of ['ecr:BatchDeleteImage', 'ecr:DeleteRepository', 'ecr:PutImageTagMutability', 'ecr:SetRepositoryPolicy']) {
    await may(push, 'no', action, repository)
  }
  await may(push, 'no', 'iam:CreateRole', `arn:aws:iam::${account}:role/admin`)
  await may(push, 'no', 'ssm:GetParameter', parameter('/challenge/kantox'))
  await may(push, 'no', 's3:GetObject', `${bucket}/state`)

  title('Permissions of the job that renews the pull secret')
  const pull = heldBy('service_account_with_everything_on', 'module.workload_identity.aws_iam_role.this["image-pull"]')
  const reads = ['ecr:BatchCheckLayerAvailability', 'ecr:BatchGetImage', 'ecr:GetDownloadUrlForLayer']
  allowsNothingBut(pull, ['ecr:GetAuthorizationToken', ...reads])
  for (const action of reads) {
    await may(pull, 'yes', action, repository)
    await may(pull, 'no', action, `${repository}-2`)
  }
  await may(pull, 'no', 'ecr:PutImage', repository)
}

function trustOfAuxService() {
  title("Principals that may assume aux-service's role (the cluster's OIDC issuer)")
  const issuer = 'oidc.example.com/k3s'
  const role = (workload) => `module.workload_identity.aws_iam_role.this["${workload}"]`
  const pods = (workload) => policy('service_account_with_everything_on', role(workload), 'assume_role_policy')
  const pod = (verdict, what, sub, { workload = 'aux-service', aud = 'sts.amazonaws.com', provider = issuer } = {}) =>
    assume(pods(workload), verdict, what, sub, 'sts:AssumeRoleWithWebIdentity', `arn:aws:iam::${account}:oidc-provider/${provider}`, {
      [`${issuer}:sub`]: sub,
      [`${issuer}:aud`]: aud
    })
  pod('yes', "aux-service's pods", 'system:serviceaccount:aux-service:aux-service')
  pod('no', 'another ServiceAccount of the namespace', 'system:serviceaccount:aux-service:default')
  pod('no', 'the same name in another namespace', 'system:serviceaccount:main-api:aux-service')
  pod('no', 'another audience', 'system:serviceaccount:aux-service:aux-service', { aud: 'https://kubernetes.default.svc' })
  pod('no', 'another cluster', 'system:serviceaccount:aux-service:aux-service', { provider: 'oidc.example.com/other' })
  const puller = { workload: 'image-pull' }
  pod('no', 'the job that pulls images', 'system:serviceaccount:kube-system:ecr-credentials')
  pod('yes', 'that job, as itself', 'system:serviceaccount:kube-system:ecr-credentials', puller)
  pod('no', 'aux-service, as that job', 'system:serviceaccount:aux-service:aux-service', puller)

  title("Principals that may assume aux-service's role (certificates)")
  const certificates = policy('certificates', role('aux-service'), 'assume_role_policy')
  const certificate = (verdict, what, name, trusted = anchor, service = 'rolesanywhere.amazonaws.com') =>
    assume(certificates, verdict, what, `CN=${name}`, 'sts:AssumeRole', service, {
      'aws:SourceArn': trusted,
      'aws:PrincipalTag/x509Subject/CN': name
    })
  certificate('yes', "aux-service's certificate", 'aux-service')
  certificate('no', 'another certificate of the authority', 'main-api')
  certificate('no', 'another authority', 'aux-service', anchor.replace('0001', '0009'))
  certificate('no', 'another service of AWS', 'aux-service', anchor, 'ec2.amazonaws.com')
}

async function permissionsOfAuxService() {
  const aux = (run, kind) => heldBy(run, `module.workload_identity.aws_iam_${kind}.this["aux-service"]`)
  const reads = ['ssm:GetParameter', 'ssm:GetParameters', 'ssm:GetParametersByPath']
  const lists = ['s3:ListAllMyBuckets', 'ssm:DescribeParameters']
  // IAM evaluates a key's own policy first; the usual one delegates the decision to the policies of the account.
  const keyPolicy = {
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Principal: { AWS: `arn:aws:iam::${account}:root` }, Action: 'kms:*', Resource: '*' }]
  }
  const mayDecrypt = (identityPolicy, verdict, contextVariables, resource = key, action = 'kms:Decrypt') => {
    const shown = [resource.split(':').at(-1), ...Object.values(contextVariables)].join('  ')
    decide(identityPolicy, keyPolicy, verdict, action, shown, action, holder, contextVariables, resource)
  }
  // The context of KMS when Parameter Store decrypts for its caller.
  const decrypts = (name, service = 'ssm.eu-west-2.amazonaws.com') => ({
    'kms:ViaService': service,
    'kms:EncryptionContext:PARAMETER_ARN': parameter(name)
  })

  title('Permissions of aux-service by default (below /challenge/, no SecureStrings)')
  const defaults = policy('defaults', 'module.workload_identity.aws_iam_policy.aux_service', 'policy')
  allowsNothingBut(defaults, [...lists, ...reads])
  for (const action of lists) await may(defaults, 'yes', action, '*')
  await may(defaults, 'yes', 'ssm:GetParameter', parameter('/challenge/kantox'))
  await may(defaults, 'yes', 'ssm:GetParameter', parameter('/challenge/deeper/still'))
  await may(defaults, 'yes', 'ssm:GetParameters', parameter('/challenge/kantox'))
  await may(defaults, 'no', 'ssm:GetParameters', parameter('/other/kantox'))
  await may(defaults, 'yes', 'ssm:GetParametersByPath', parameter('/challenge'))
  await may(defaults, 'yes', 'ssm:GetParametersByPath', parameter('/challenge/deeper'))
  await may(defaults, 'no', 'ssm:GetParametersByPath', parameter('/other'))
  await may(defaults, 'no', 'ssm:GetParameter', parameter('/challenge-2/kantox'))
  await may(defaults, 'no', 'ssm:GetParameter', parameter('/other/kantox'))
  await may(defaults, 'no', 'ssm:GetParameter', parameter('/challenge/kantox').replace(account, '210987654321'))
  await may(defaults, 'no', 'ssm:GetParameter', parameter('/challenge/kantox').replace('eu-west-2', 'us-east-1'))
  for (const action of ['ssm:PutParameter', 'ssm:DeleteParameter', 'ssm:GetParameterHistory']) {
    await may(defaults, 'no', action, parameter('/challenge/kantox'))
  }
  await may(defaults, 'no', 's3:ListBucket', bucket)
  await may(defaults, 'no', 's3:GetObject', `${bucket}/object`)
  await may(defaults, 'no', 'sqs:ReceiveMessage', queue)
  // AWS's own key allows every principal that may read the parameter; only a denial here protects SecureStrings.
  mayDecrypt(defaults, 'refused', decrypts('/challenge/token'))

  title('Permissions of aux-service with SecureStrings, a key of your own and the queue')
  const full = aux('service_account_with_everything_on', 'role')
  allowsNothingBut(full, [...lists, ...reads, 'kms:Decrypt', 'sqs:DeleteMessage', 'sqs:ReceiveMessage'])
  mayDecrypt(full, 'yes', decrypts('/challenge/token'))
  mayDecrypt(full, 'no', decrypts('/other/token'))
  mayDecrypt(full, 'no', decrypts('/challenge/token', 's3.eu-west-2.amazonaws.com'))
  mayDecrypt(full, 'no', {})
  mayDecrypt(full, 'no', decrypts('/challenge/token'), key.replace('1111-', '9999-'))
  mayDecrypt(full, 'no', decrypts('/challenge/token'), key, 'kms:Encrypt')
  await may(full, 'yes', 'sqs:ReceiveMessage', queue)
  await may(full, 'yes', 'sqs:DeleteMessage', queue)
  await may(full, 'no', 'sqs:SendMessage', queue)
  await may(full, 'no', 'sqs:ReceiveMessage', `${queue}-2`)

  title('Permissions of aux-service with several prefixes, one without a last slash')
  const teams = aux('certificates', 'role')
  await may(teams, 'yes', 'ssm:GetParameter', parameter('/team-a/x'))
  await may(teams, 'yes', 'ssm:GetParameter', parameter('/team-b/x'))
  await may(teams, 'no', 'ssm:GetParameter', parameter('/team-bb/x'))
  await may(teams, 'no', 'ssm:GetParameter', parameter('/challenge/kantox'))

  title('Permissions of aux-service with parameters that another account shares')
  const other = (name) => parameter(name).replace(account, '210987654321')
  // The other account shares more than this one's policy asks for.
  const share = {
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Principal: { AWS: `arn:aws:iam::${account}:root` }, Action: reads, Resource: '*' }]
  }
  const shared = policy('shared_parameters', 'module.workload_identity.aws_iam_policy.aux_service', 'policy')
  allowsNothingBut(shared, [...lists, ...reads, 'ssm:GetParameter', 'ssm:GetParameters'])
  await may(shared, 'yes', 'ssm:GetParameter', parameter('/challenge/kantox'))
  await may(shared, 'no', 'ssm:GetParameter', parameter('/shared/vpc-id'))
  await may(shared, 'yes', 'ssm:GetParameter', other('/shared/vpc-id'), {}, share)
  await may(shared, 'yes', 'ssm:GetParameters', other('/shared/deeper/still'), {}, share)
  await may(shared, 'no', 'ssm:GetParameter', other('/shared-2/vpc-id'), {}, share)
  await may(shared, 'no', 'ssm:GetParameter', other('/challenge/kantox'), {}, share)
  await may(shared, 'no', 'ssm:GetParameter', other('/shared/vpc-id').replace('eu-west-2', 'us-east-1'), {}, share)
  await may(shared, 'no', 'ssm:GetParametersByPath', other('/shared'), {}, share)
  const sharedAlone = policy('shared_parameters_alone', 'module.workload_identity.aws_iam_policy.aux_service', 'policy')
  allowsNothingBut(sharedAlone, [...lists, 'ssm:GetParameter', 'ssm:GetParameters'])
  await may(sharedAlone, 'yes', 'ssm:GetParameter', other('/shared/vpc-id'), {}, share)
  await may(sharedAlone, 'no', 'ssm:GetParameter', other('/shared/vpc-id-2'), {}, share)
  await may(sharedAlone, 'no', 'ssm:GetParameter', parameter('/challenge/kantox'))

  title('Permissions of aux-service in a partition whose services have names of their own')
  const partition = policy('another_partition', 'module.workload_identity.aws_iam_policy.aux_service', 'policy')
  for (const suffix of ['amazonaws.com', 'amazonaws.com.cn']) {
    mayDecrypt(partition, 'refused', decrypts('/challenge/token', `ssm.eu-west-2.${suffix}`))
  }

  title('Permissions of aux-service with the prefix /')
  const all = aux('user_who_reads_every_parameter', 'user')
  await may(all, 'yes', 'ssm:GetParameter', parameter('/anything/at/all'))
  await may(all, 'yes', 'ssm:GetParametersByPath', parameter('/anything'))
  await may(all, 'no', 'ssm:PutParameter', parameter('/anything/at/all'))
}

async function resourcePolicies() {
  const administrator = { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: '*', Resource: '*' }] }
  title('Principals that may reach the bucket and the queue')
  const guarded = policy('defaults', 'module.s3.aws_s3_bucket_policy.this', 'policy')
  for (const [verdict, encrypted] of [['yes', 'true'], ['refused', 'false']]) {
    const context = { 'aws:SecureTransport': encrypted }
    await may(administrator, verdict, 's3:GetObject', `${bucket}/object`, context, guarded)
    await may(administrator, verdict, 's3:ListBucket', bucket, context, guarded)
  }
  const queuePolicy = policy('service_account_with_everything_on', 'module.ssm.aws_sqs_queue_policy.changes["queue"]', 'policy')
  const send = (verdict, what, context, principal = 'events.amazonaws.com') =>
    assume(queuePolicy, verdict, what, 'sqs:SendMessage', 'sqs:SendMessage', principal, { 'aws:SecureTransport': 'true', ...context }, queue)
  send('yes', 'the rule of parameter changes', { 'aws:SourceArn': rule })
  send('yes', 'the rule of expired parameters', { 'aws:SourceArn': `${rule}-expired` })
  send('no', 'another rule', { 'aws:SourceArn': `${rule}-2` })
  send('no', 'another service', { 'aws:SourceArn': rule }, 'sns.amazonaws.com')
  send('no', 'the rule without TLS', { 'aws:SourceArn': rule, 'aws:SecureTransport': 'false' })
}

function eventsInTheQueue() {
  const change = (name, operation = 'Update') => ({
    source: 'aws.ssm', 'detail-type': 'Parameter Store Change', detail: { name, operation, type: 'String' }
  })
  const policyAction = (name, policyType = 'Expiration') => ({
    source: 'aws.ssm', 'detail-type': 'Parameter Store Policy Action',
    detail: { 'parameter-name': name, 'policy-type': policyType, 'parameter-type': 'String', 'action-status': 'Success' }
  })
  const ask = (run, verdict, what, event) => {
    const patterns = [...states.get(run)].filter(([at]) => at.includes('aws_cloudwatch_event_rule.changes')).map(([, r]) => JSON.parse(r.event_pattern))
    if (patterns.length !== 2) throw new Error(`${run} has ${patterns.length} rules`)
    const arrivals = patterns.filter((pattern) => selects(pattern, event)).length
    if (arrivals > 1) throw new Error(`${run}: both rules select ${what}`)
    report(verdict, arrivals === 1 ? 'Allowed' : 'ImplicitlyDenied', what, event.detail.name ?? event.detail['parameter-name'])
  }

  title('Events that arrive in the queue (prefix /challenge/)')
  const one = 'service_account_with_everything_on'
  for (const operation of ['Create', 'Update', 'Delete', 'LabelParameterVersion', 'AnotherOperation']) ask(one, 'yes', operation, change('/challenge/kantox', operation))
  ask(one, 'yes', 'an expired parameter', policyAction('/challenge/kantox'))
  ask(one, 'yes', 'the parameter with the name of the path', change('/challenge'))
  ask(one, 'yes', 'the same, expired', policyAction('/challenge'))
  ask(one, 'no', 'a parameter outside', change('/other/kantox'))
  ask(one, 'no', 'a name that begins alike', change('/challenge-two'))
  ask(one, 'no', 'a name that begins alike, expired', policyAction('/challenge-two'))
  ask(one, 'no', 'a name without a slash', change('challenge'))
  ask(one, 'no', 'a reminder before the end', policyAction('/challenge/kantox', 'ExpirationNotification'))
  ask(one, 'no', 'a reminder without a change', policyAction('/challenge/kantox', 'NoChangeNotification'))
  ask(one, 'no', 'another source', { ...change('/challenge/kantox'), source: 'example.com' })
  ask(one, 'no', 'another type', { ...change('/challenge/kantox'), 'detail-type': 'EC2 Command Status-change Notification' })

  title('Events that arrive in the queue (prefixes /team-a/ and /team-b)')
  for (const name of ['/team-a/x', '/team-a', '/team-b/x/y', '/team-b']) ask('certificates', 'yes', 'a parameter of a team', change(name))
  for (const name of ['/team-bb', '/team-ab/x', '/challenge/kantox']) ask('certificates', 'no', 'a parameter of nobody', change(name))

  title('Events that arrive in the queue (prefix /)')
  for (const name of ['/anything/at/all', 'a-name-without-a-slash']) {
    ask('user_who_reads_every_parameter', 'yes', 'any parameter', change(name))
    ask('user_who_reads_every_parameter', 'yes', 'any expired parameter', policyAction(name))
  }
  ask('user_who_reads_every_parameter', 'no', 'a reminder', policyAction('/anything', 'NoChangeNotification'))
}

/** True if an event has, for each field of the pattern, one of the values, a value with one of the prefixes, or any value. */
function selects(pattern, event) {
  return Object.entries(pattern).every(([field, wanted]) => {
    const found = event?.[field]
    if (!Array.isArray(wanted)) return selects(wanted, found)
    return wanted.some((one) => (typeof one === 'string' ? found === one : one.exists ? found !== undefined : found?.startsWith(one.prefix)))
  })
}

function imagesThatExpire() {
  title('Images that expire (30 of each service are kept)')
  const { rules } = policy('defaults', 'module.ecr.aws_ecr_lifecycle_policy.images', 'policy')
  const build = (service, age) => ({ tags: [`${service}-${String(age).padStart(7, '0')}`], age })
  const builds = (service, count) => Array.from({ length: count }, (_, age) => build(service, age))
  const ask = (what, images, expected) => {
    const found = expired(rules, images).map((image) => image.tags[0] ?? 'untagged').sort()
    report('yes', found.join() === expected.join() ? 'Allowed' : `expired are ${found}`, what, expected.join(' ') || 'none')
  }
  ask('30 builds of each service', [...builds('aux-service', 30), ...builds('main-api', 30)], [])
  ask('31 builds', builds('aux-service', 31), ['aux-service-0000030'])
  const waiting = builds('aux-service', 41)
  waiting[40].tags.push('aux-service-deployed')
  waiting[0].tags.push('aux-service-latest')
  ask('40 builds after the deployed image', waiting, Array.from({ length: 9 }, (_, i) => `aux-service-00000${31 + i}`))
  const both = [{ tags: ['main-api-0000000', 'main-api-latest', 'main-api-deployed'], age: 90 }, ...builds('main-api', 30)]
  ask('one image with every tag', both, [])
  ask('an image without a tag', [{ tags: [], age: 2 }, { tags: [], age: 0 }], ['untagged'])
}

/** The images that ECR expires: each image belongs to the first rule that selects it, and a later rule cannot expire it. */
function expired(rules, images) {
  const left = new Set(images)
  return rules.toSorted((a, b) => a.rulePriority - b.rulePriority).flatMap(({ selection }) => {
    const prefixes = selection.tagPrefixList ?? []
    const tagged = ({ tags }) => tags.length > 0 && prefixes.every((prefix) => tags.some((tag) => tag.startsWith(prefix)))
    const selected = [...left].filter((image) => (selection.tagStatus === 'untagged' ? image.tags.length === 0 : tagged(image)))
    selected.forEach((image) => left.delete(image))
    const newestFirst = selected.toSorted((a, b) => a.age - b.age)
    if (selection.countType === 'imageCountMoreThan') return newestFirst.slice(selection.countNumber)
    return newestFirst.filter(({ age }) => age > selection.countNumber)
  })
}

/** Simulates a resource's policy (a role's trust, a queue's) for a principal without permissions of its own. */
function assume(document, verdict, what, shown, action, principal, contextVariables, resource = holder) {
  decide(undefined, document, verdict, what, shown, action, principal, contextVariables, resource)
}

/** Simulates a resource's policy for a principal with a policy of its own. */
function decide(identityPolicy, document, verdict, what, shown, action, principal, contextVariables, resource) {
  const validate = action.startsWith('sts:') ? validateTrustPolicy : validateResourcePolicy
  const resourcePolicy = createValidatedPolicy(document, validate, { name: what })
  if (resourcePolicy.errors.length > 0) throw new Error(`${what}: ${JSON.stringify(resourcePolicy.errors)}`)
  const request = { principal, action, resource: { resource, accountId: account }, contextVariables }
  // The library's other function ignores the claims sub and aud and KMS's context as unknown keys, and so denies every request.
  report(verdict, runUnsafeSimulation({ ...simulation(identityPolicy, resourcePolicy), request }, {}), what, shown)
}

/** Simulates an identity's policy for one action. An unknown action or resource is an error. */
async function may(identityPolicy, verdict, action, resource, contextVariables = {}, resourcePolicy = undefined) {
  const owner = resource.split(':')[4] || account
  const request = { principal: holder, action, resource: { resource, accountId: owner }, contextVariables }
  const answer = await runSimulation({ ...simulation(identityPolicy, resourcePolicy), request }, {})
  if (answer.resultType === 'error') throw new Error(`${action} on ${resource}: ${JSON.stringify(answer.errors)}`)
  if (answer.result?.ignoredContextKeys?.length > 0) throw new Error(`${action}: ${answer.result.ignoredContextKeys} would be ignored`)
  report(verdict, answer.overallResult, action, [resource, ...Object.values(contextVariables)].join('  '))
}

/** Compares the actions that the policy allows, on any resource, with the expected ones. */
function allowsNothingBut(document, expected) {
  const allowed = document.Statement.filter((s) => s.Effect === 'Allow').flatMap((s) => s.Action)
  const same = JSON.stringify([...allowed].sort()) === JSON.stringify([...expected].sort())
  report('yes', same ? 'Allowed' : `Allowed are ${allowed.sort()}`, 'these actions and no others', expected.join(' '))
}

function simulation(identityPolicy, resourcePolicy) {
  const identityPolicies = identityPolicy === undefined ? [] : [{ name: 'identity', policy: identityPolicy }]
  return { identityPolicies, resourcePolicy, serviceControlPolicies: [], resourceControlPolicies: [] }
}

function report(verdict, result, what, shown) {
  const expected = { yes: ['Allowed'], no: ['ImplicitlyDenied', 'ExplicitlyDenied'], refused: ['ExplicitlyDenied'] }[verdict]
  const right = expected.includes(result)
  if (right) passed += 1
  else failed += 1
  console.log(`${right ? 'ok   ' : 'WRONG'} ${verdict.padEnd(7)} ${what.padEnd(44)} ${shown}${right ? '' : `   (${result})`}`)
}

function title(text) {
  console.log(`\n${text}`)
}

/** The statements of all policies that are attached to a role or user. */
function heldBy(run, address) {
  const { name } = states.get(run)?.get(address) ?? {}
  if (name === undefined) throw new Error(`${run} has no ${address}`)
  const resources = [...states.get(run)].map(([at, values]) => ({ at, ...values }))
  const inline = resources.filter((r) => /\.aws_iam_(role|user)_policy\./.test(r.at) && [r.role, r.user].includes(name))
  const attached = resources.filter((r) => /\.aws_iam_(role|user)_policy_attachment\./.test(r.at) && [r.role, r.user].includes(name))
  const managed = attached.map(({ policy_arn }) => {
    const found = resources.find((r) => r.at.includes('.aws_iam_policy.') && r.arn === policy_arn)
    if (found === undefined) throw new Error(`${address} holds ${policy_arn}, which is not made here`)
    return found
  })
  const documents = [...inline, ...managed].map((r) => JSON.parse(r.policy))
  if (documents.length === 0) throw new Error(`${address} holds no policy`)
  return { Version: '2012-10-17', Statement: documents.flatMap((d) => d.Statement) }
}

/** One policy document of one run. A missing one is an error, because an unchecked policy would look safe. */
function policy(run, address, attribute) {
  const document = states.get(run)?.get(address)?.[attribute]
  if (document === undefined) throw new Error(`${run} has no ${attribute} of ${address}`)
  return JSON.parse(document)
}

/** The resources of each run's state, by address. */
async function readStates(input) {
  const runs = new Map()
  for await (const line of createInterface({ input })) {
    const event = JSON.parse(line)
    if (event.type !== 'test_state') continue
    const resources = new Map()
    const collect = (module) => {
      for (const r of module.resources ?? []) resources.set(r.address, r.values)
      for (const child of module.child_modules ?? []) collect(child)
    }
    collect(event.test_state.root_module ?? event.test_state.values.root_module)
    runs.set(event['@testrun'], resources)
  }
  return runs
}
