locals {
  image_pull_account = split("/", coalesce(var.image_pull_service_account, "none/none"))

  # Each workload has one identity: the job that pulls images needs no parameters.
  workloads = {
    for name, workload in {
      aux-service = { namespace = "aux-service", account = "aux-service", policy_arn = aws_iam_policy.aux_service.arn }
      image-pull  = { namespace = local.image_pull_account[0], account = local.image_pull_account[1], policy_arn = var.image_pull_policy_arn }
    } : name => workload if name != "image-pull" || var.image_pull_service_account != null
  }

  roles = contains(["oidc", "roles-anywhere"], var.method) ? local.workloads : {}
  users = var.method == "user" ? local.workloads : {}
}

resource "aws_iam_role" "this" {
  for_each = local.roles

  name                 = "${var.name}-${each.key}"
  description          = "The pods of the ServiceAccount ${each.value.namespace}/${each.value.account}"
  max_session_duration = 3600
  permissions_boundary = var.permissions_boundary_arn
  assume_role_policy   = { oidc = local.oidc_trust, roles-anywhere = local.certificate_trust }[var.method][each.key]
}

resource "aws_iam_role_policy_attachment" "this" {
  for_each = local.roles

  role       = aws_iam_role.this[each.key].name
  policy_arn = each.value.policy_arn
}
