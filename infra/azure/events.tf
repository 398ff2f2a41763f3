# Event Grid: from a blob that is there to a message in a queue.

locals {
  makes_topic = var.system_topic_name == ""
  topic       = local.makes_topic ? azurerm_eventgrid_system_topic.lake[0].name : data.azurerm_eventgrid_system_topic.lake[0].name
  topic_group = local.makes_topic ? var.resource_group_name : data.azurerm_storage_account.lake.resource_group_name
  topic_is    = local.makes_topic ? azurerm_eventgrid_system_topic.lake[0].identity[0].principal_id : data.azurerm_eventgrid_system_topic.lake[0].identity[0].principal_id
  blobs       = "/blobServices/default/containers"
}

resource "azurerm_eventgrid_system_topic" "lake" {
  count = local.makes_topic ? 1 : 0

  name                = "${var.name}-storage"
  resource_group_name = var.resource_group_name
  location            = data.azurerm_storage_account.lake.location
  source_resource_id  = data.azurerm_storage_account.lake.id
  topic_type          = "Microsoft.Storage.StorageAccounts"
  tags                = var.tags

  identity {
    type = "SystemAssigned"
  }
}

data "azurerm_eventgrid_system_topic" "lake" {
  count = local.makes_topic ? 0 : 1

  name                = var.system_topic_name
  resource_group_name = data.azurerm_storage_account.lake.resource_group_name
}

resource "azurerm_role_assignment" "topic_sends" {
  scope                = azurerm_storage_account.functions.id
  role_definition_name = "Storage Queue Data Message Sender"
  principal_id         = local.topic_is
  principal_type       = "ServicePrincipal"
}

resource "azurerm_role_assignment" "topic_gives_up" {
  scope                = azurerm_storage_container.undelivered.id
  role_definition_name = "Storage Blob Data Contributor"
  principal_id         = local.topic_is
  principal_type       = "ServicePrincipal"
}

resource "azurerm_eventgrid_system_topic_event_subscription" "uploads" {
  name                  = "${var.name}-uploads"
  system_topic          = local.topic
  resource_group_name   = local.topic_group
  event_delivery_schema = "CloudEventSchemaV1_0"
  included_event_types  = ["Microsoft.Storage.BlobCreated", "Microsoft.Storage.BlobRenamed", "Microsoft.Storage.DirectoryRenamed"]

  subject_filter {
    subject_begins_with = "${local.blobs}/${azurerm_storage_container.landing.name}/blobs/"
  }

  storage_queue_endpoint {
    storage_account_id                    = azurerm_storage_account.functions.id
    queue_name                            = azurerm_storage_queue.uploads.name
    queue_message_time_to_live_in_seconds = 604800
  }

  delivery_identity {
    type = "SystemAssigned"
  }

  storage_blob_dead_letter_destination {
    storage_account_id          = azurerm_storage_account.functions.id
    storage_blob_container_name = azurerm_storage_container.undelivered.name
  }

  dead_letter_identity {
    type = "SystemAssigned"
  }

  depends_on = [azurerm_role_assignment.topic_sends, azurerm_role_assignment.topic_gives_up]
}

# Notes that Inlet leaves in the lake when the catalog is behind it or rows are held.
resource "azurerm_eventgrid_system_topic_event_subscription" "behind" {
  count = local.has_notes ? 1 : 0

  name                  = "${var.name}-behind"
  system_topic          = local.topic
  resource_group_name   = local.topic_group
  event_delivery_schema = "CloudEventSchemaV1_0"
  included_event_types  = ["Microsoft.Storage.BlobCreated"]

  advanced_filter {
    string_begins_with {
      key = "subject"
      values = [
        "${local.blobs}/${var.lake_container}/blobs/${var.lake_path}/_inlet/catalog/behind/",
        "${local.blobs}/${var.lake_container}/blobs/${var.lake_path}/_inlet/held/",
      ]
    }
  }

  storage_queue_endpoint {
    storage_account_id                    = azurerm_storage_account.functions.id
    queue_name                            = azurerm_storage_queue.behind.name
    queue_message_time_to_live_in_seconds = 86400
  }

  delivery_identity {
    type = "SystemAssigned"
  }

  depends_on = [azurerm_role_assignment.topic_sends]
}
