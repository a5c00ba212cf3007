# A queue of the changes of parameters, which aux-service reads. It is off by default.

locals {
  change_queues = var.change_queue == null ? {} : { queue = var.change_queue }

  # A prefix ends at a slash, like in the service: /app covers /app and all parameters below it, and not /apple.
  change_paths = distinct([for p in sort(try(var.change_queue.prefixes, [])) : trimsuffix(p, "/")])
  # The prefix / covers every parameter, also one whose name has no slash.
  changed_names = concat(
    [for p in local.change_paths : { exists = true } if p == ""],
    flatten([for p in local.change_paths : [p, { prefix = "${p}/" }] if !contains(local.change_paths, "")]),
  )

  # The two types of events have the name in two places. Two rules are simpler than one rule with alternatives, and each rule
  # has the whole length of a pattern for its names.
  change_rules = { for key, rule in {
    changes = {
      suffix      = ""
      description = "Parameters that changed below the prefixes of aux-service"
      type        = "Parameter Store Change"
      # Every operation is a change: Create, Update, Delete, and LabelParameterVersion, which changes the response for NAME:LABEL.
      detail = { name = local.changed_names }
    }
    expirations = {
      suffix      = "-expired"
      description = "Parameters that expired below the prefixes of aux-service"
      type        = "Parameter Store Policy Action"
      # AWS has deleted the parameter. The other types of policies only remind people.
      detail = { parameter-name = local.changed_names, policy-type = ["Expiration"] }
    }
    } : key => {
    name        = "${var.change_queue.name}${rule.suffix}"
    description = rule.description
    pattern = jsonencode({
      source      = ["aws.ssm"]
      detail-type = [rule.type]
      detail      = rule.detail
    })
  } if var.change_queue != null }
}

# This queue has no queue of dead letters. aux-service deletes a message that is no event at the third receipt, counts it
# (change_messages_total{outcome="poison"}) and logs the reason. A second queue would need a reader and an alarm of its own, and would
# save nothing: an entry whose message is lost expires at the end of its TTL.
resource "aws_sqs_queue" "changes" {
  for_each = local.change_queues

  name                    = each.value.name
  sqs_managed_sse_enabled = true

  # A message is of use while an entry older than it can be fresh, so for as long as cache.ttl. A day exceeds every useful TTL.
  message_retention_seconds = 86400
  # One call waits for messages this long, so an idle replica makes three calls a minute.
  receive_wait_time_seconds = 20
  # aux-service needs less than a second for a message. If it ends before that, another replica receives the message after this time.
  visibility_timeout_seconds = 30
}

resource "aws_cloudwatch_event_rule" "changes" {
  for_each = local.change_rules

  name          = each.value.name
  description   = each.value.description
  event_pattern = each.value.pattern

  lifecycle {
    precondition {
      condition     = length(each.value.pattern) <= 2048
      error_message = "The pattern of the rule ${each.value.name} is longer than the 2048 characters that EventBridge accepts. Use fewer or shorter parameter_prefixes, or / for all parameters."
    }
  }
}

resource "aws_cloudwatch_event_target" "changes" {
  for_each = local.change_rules

  rule = aws_cloudwatch_event_rule.changes[each.key].name
  arn  = aws_sqs_queue.changes["queue"].arn
}

resource "aws_sqs_queue_policy" "changes" {
  for_each = local.change_queues

  queue_url = aws_sqs_queue.changes[each.key].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "OnlyTheseRulesSend"
        Effect    = "Allow"
        Principal = { Service = "events.amazonaws.com" }
        Action    = "sqs:SendMessage"
        Resource  = aws_sqs_queue.changes[each.key].arn
        Condition = { ArnEquals = { "aws:SourceArn" = values(aws_cloudwatch_event_rule.changes)[*].arn } }
      },
      {
        Sid       = "RefuseUnencryptedTransport"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = aws_sqs_queue.changes[each.key].arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}
